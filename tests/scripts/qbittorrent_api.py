"""Calls all that PyPI's qbittorrent-api has of what this daemon does, beside a seed.

Arguments: port, torrent file, data directory, address of a seed.
"""
import http.server
import os
import sys
import threading
import time
import qbittorrentapi

SEARCH = "there is no search: its plug-ins are programs"
# What is not called, and why.
EXPLAINED = {
    "search": SEARCH,
    "search_delete": SEARCH,
    "search_download_torrent": SEARCH,
    "search_enable_plugin": SEARCH,
    "search_install_plugin": SEARCH,
    "search_results": SEARCH,
    "search_start": SEARCH,
    "search_stop": SEARCH,
    "search_uninstall_plugin": SEARCH,
    "search_update_plugins": SEARCH,
    "torrents_ssl_parameters": "torrents over TLS are libtorrent's own",
    "torrents_set_ssl_parameters": "torrents over TLS are libtorrent's own",
    "clientdata": "newer than 2.11.4, the version that is claimed",
}
# Not in 2.11.4, the version that is claimed: newer, or gone. The library refuses them by itself.
NOT_CLAIMED = [
    "app_delete_api_key",
    "app_get_free_space_at_path",
    "app_process_info",
    "app_rotate_api_key",
    "clientdata_load",
    "clientdata_store",
    "rss_clone_rule",
    "rss_export_rules",
    "rss_import_rules",
    "rss_set_feed_refresh_interval",
    "search_categories",
    "torrents_download_file",
    "torrents_fetch_metadata",
    "torrents_parse_metadata",
    "torrents_piece_availability",
    "torrents_save_metadata",
    "torrents_set_comment",
    "transfer_pause_session",
    "transfer_resume_session",
    "transfer_set_speed_limits",
    "transfer_speed_limits",
]
FILTERS = [
    "all", "downloading", "seeding", "completed", "paused", "stopped", "active", "inactive",
    "resumed", "running", "stalled", "stalled_uploading", "stalled_downloading", "checking",
    "moving", "errored",
]

port, torrent, data, seed = sys.argv[1:]
client = Watched(
    qbittorrentapi.Client(
        host=f"127.0.0.1:{port}",
        username="bt",
        password="any",
        RAISE_NOTIMPLEMENTEDERROR_FOR_UNIMPLEMENTED_API_ENDPOINTS=True,
        RAISE_ERROR_FOR_UNSUPPORTED_QBITTORRENT_VERSIONS=True,
    )
)


def refused(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"it was not refused: {kind}")


def wait(what, until):
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


client.auth_log_in()
assert client.is_logged_in and client.auth.is_logged_in and client.authorization.is_logged_in
for name in NOT_CLAIMED:
    refused(NotImplementedError, getattr(client, name))
assert (client.app_version(), client.app_web_api_version()) == ("v5.1.4", "2.11.4")
assert client.app_build_info().bitness == 64
with open(torrent, "rb") as file:
    answer = client.torrents_add(torrent_files=file, save_path=data, category="tv", tags=["a", "b"], is_stopped=True, ratio_limit=2.0)
assert answer == "Ok."
with open(torrent, "rb") as file:
    assert client.torrents_add(torrent_files=file) == "Fails.", "a duplicate"
digest = client.torrents_info()[0].hash


def one():
    return client.torrents_info(torrent_hashes=digest)[0]


assert client.torrents_properties(torrent_hash=digest).name == "album", "it is there at once"
wait("the check", lambda: one().state == "stoppedDL")
client.torrents_start(torrent_hashes=digest)
wait("the download", lambda: one().progress == 1.0 and one().state in ("stalledUP", "uploading"))
assert one().content_path == data + "/album" and one().save_path == data
assert one().category == "tv" and one().tags == "a, b" and one().ratio_limit == 2.0
assert len(client.torrents_files(torrent_hash=digest)) == 5
assert client.torrents_trackers(torrent_hash=digest)[3].status == 2
assert set(client.torrents_piece_states(torrent_hash=digest)) == {2}
assert len(client.torrents_piece_hashes(torrent_hash=digest)[0]) == 40
assert client.torrents_webseeds(torrent_hash=digest) == []
assert client.torrents_export(torrent_hash=digest).startswith(b"d")
seeding = {"all", "seeding", "completed", "resumed", "running"}
for name in FILTERS:
    found = client.torrents_info(status_filter=name)
    assert name not in seeding or len(found) == 1, name
    assert name not in ("downloading", "paused", "stopped", "errored", "moving") or not found, name
assert len(client.torrents_info(category="tv", tag="a", private=False, sort="name", reverse=True, limit=5, offset=0)) == 1
assert client.torrents_info(category="") == [] and client.torrents_info(tag="") == []
more = client.torrents_info(include_trackers=True, include_files=True)[0]
assert more.trackers and len(more.files) == 5
for name in ("properties", "trackers", "files", "piece_states", "webseeds"):
    assert getattr(more, name) is not None, name
refused(qbittorrentapi.NotFound404Error, lambda: client.torrents_properties(torrent_hash="0" * 40))
refused(qbittorrentapi.HTTP400Error, lambda: client.torrents_info(sort="nonsense"))
client.torrents_pause(torrent_hashes=digest)
wait("the stop", lambda: one().state == "stoppedUP")
client.torrents_resume(torrent_hashes="all")
client.torrents_recheck(torrent_hashes=digest)
wait("the second check", lambda: one().state in ("stalledUP", "uploading"))
client.torrents_reannounce(torrent_hashes=digest)
# There is no queue yet.
refused(qbittorrentapi.Conflict409Error, lambda: client.torrents_top_priority(torrent_hashes=digest))
client.app_set_preferences({"queueing_enabled": True, "max_active_downloads": 4, "max_ratio_enabled": True, "max_ratio": 3, "dl_limit": 100000})
wanted = client.app_preferences()
assert (wanted.max_active_downloads, wanted.max_ratio, wanted.dl_limit) == (4, 3.0, 100000)
client.torrents_top_priority(torrent_hashes=digest)
client.torrents_bottom_priority(torrent_hashes=digest)
client.torrents_increase_priority(torrent_hashes=digest)
client.torrents_decrease_priority(torrent_hashes=digest)
client.torrents_set_download_limit(limit=5000, torrent_hashes=digest)
client.torrents_set_upload_limit(limit=6000, torrent_hashes=digest)
assert client.torrents_download_limit(torrent_hashes=digest)[digest] == 5000
assert client.torrents_upload_limit(torrent_hashes=digest)[digest] == 6000
client.torrents_set_share_limits(ratio_limit=1.5, seeding_time_limit=60, inactive_seeding_time_limit=-1, torrent_hashes=digest)
assert (one().ratio_limit, one().seeding_time_limit, one().inactive_seeding_time_limit) == (1.5, 60, -1)
full = client.sync_maindata(rid=0)
assert full.full_update and digest in full.torrents
client.torrents_add_tags(tags="c", torrent_hashes=digest)
delta = client.sync_maindata(rid=full.rid)
assert "full_update" not in delta and delta.torrents[digest]["tags"] == "a, b, c"
assert list(delta.tags) == ["c"], delta
client.torrents_remove_tags(tags="a", torrent_hashes=digest)
client.torrents_set_tags(tags="z", torrent_hashes=digest)
assert one().tags == "z" and "z" in client.torrents_tags()
client.torrents_create_tags(tags="later")
client.torrents_delete_tags(tags="later")
client.torrents_create_category(name="film", save_path=data + "/film")
client.torrents_edit_category(name="film", save_path=data + "/film2")
assert client.torrents_categories()["film"].savePath == data + "/film2"
client.torrents_set_category(category="film", torrent_hashes=digest)
assert one().category == "film"
client.torrents_remove_categories(categories="tv")
client.torrents_set_location(location=data + "/moved", torrent_hashes=digest)
wait("the move", lambda: one().save_path == data + "/moved" and one().state in ("stalledUP", "uploading"))
client.torrents_rename(torrent_hash=digest, new_torrent_name="neu")
assert one().name == "neu"
old = client.torrents_files(torrent_hash=digest)[0].name
client.torrents_rename_file(torrent_hash=digest, old_path=old, new_path="album/first.bin")
assert client.torrents_files(torrent_hash=digest)[0].name == "album/first.bin"
refused(
    qbittorrentapi.Conflict409Error,
    lambda: client.torrents_rename_file(torrent_hash=digest, old_path="album/first.bin", new_path="../../out"),
)
folder = client.torrents_files(torrent_hash=digest)[2].name.rsplit("/", 1)[0]
client.torrents_rename_folder(torrent_hash=digest, old_path=folder, new_path="album/folder")
assert client.torrents_files(torrent_hash=digest)[2].name.startswith("album/folder/")
client.torrents_set_save_path(save_path=data + "/elsewhere", torrent_hashes=digest)
wait("the second move", lambda: one().save_path == data + "/elsewhere" and one().state in ("stalledUP", "uploading"))
# It is complete: where incomplete data lies does not matter to it.
client.torrents_set_download_path(download_path=data + "/incomplete", torrent_hashes=digest)
assert one().save_path == data + "/elsewhere" and one().state in ("stalledUP", "uploading")
client.torrents_file_priority(torrent_hash=digest, file_ids=[0], priority=7)
client.torrents_add_trackers(torrent_hash=digest, urls=["http://127.0.0.1:5/announce"])
client.torrents_edit_tracker(torrent_hash=digest, original_url="http://127.0.0.1:5/announce", new_url="http://127.0.0.1:6/announce")
client.torrents_remove_trackers(torrent_hash=digest, urls="http://127.0.0.1:6/announce")
for change in (client.torrents_add_webseeds, client.torrents_remove_webseeds):
    # They cannot be changed yet, and nothing says that they were.
    refused(qbittorrentapi.Conflict409Error, lambda: change(torrent_hash=digest, urls="http://127.0.0.1:9/"))
refused(
    qbittorrentapi.Conflict409Error,
    lambda: client.torrents_edit_webseed(torrent_hash=digest, orig_url="http://a/", new_url="http://b/"),
)
client.torrents_add_peers(peers=seed, torrent_hashes=digest)
client.torrents_set_force_start(enable=True, torrent_hashes=digest)
assert one().state == "forcedUP"
client.torrents_set_super_seeding(enable=False, torrent_hashes=digest)
client.torrents_toggle_sequential_download(torrent_hashes=digest)
client.torrents_toggle_first_last_piece_priority(torrent_hashes=digest)
assert one().seq_dl and one().f_l_piece_prio
client.torrents_set_auto_management(enable=False, torrent_hashes=digest)
assert client.sync_torrent_peers(torrent_hash=digest, rid=0).full_update
assert client.transfer_info().connection_status in ("connected", "firewalled")
client.transfer_set_speed_limits_mode(True)
assert client.transfer_speed_limits_mode() == "1"
client.transfer_set_download_limit(1000)
assert client.transfer_download_limit() == 1000
client.transfer_set_upload_limit(0)
assert client.transfer_upload_limit() == 0
client.transfer_toggle_speed_limits_mode()
assert client.transfer_speed_limits_mode() == "0" and client.transfer.info.dl_rate_limit == 1000
client.transfer_ban_peers(peers="192.0.2.1:1")
assert "192.0.2.1" in client.app_preferences().banned_IPs
client.log_main()
client.log_peers()
assert client.search_plugins() == [] and client.search_status() == []
assert client.app_default_save_path() and client.app_network_interface_list()
assert client.app_network_interface_address_list() == []
assert client.app_get_directory_content(data + "/elsewhere") == [data + "/elsewhere/album"]
refused(qbittorrentapi.NotFound404Error, lambda: client.app_get_directory_content(data + "/nothing"))
client.app_set_cookies([])
assert client.app_cookies() == []
client.app_send_test_email()
assert client.torrents_count() == 1

# A torrent is made of what the seed has.
made = client.torrentcreator_add_task(
    source_path=os.path.join(os.path.dirname(torrent), "album"), piece_size=32768, is_private=True,
    comment="made", trackers=["http://127.0.0.1:5/announce"],
)
task = made.taskID
wait("the torrent", lambda: client.torrentcreator_status(task_id=task)[0].status == "Finished")
assert client.torrentcreator_torrent_file(task_id=task).startswith(b"d8:announce")
assert client.torrentcreator.status(task_id=task)[0].comment == "made"
client.torrentcreator_delete_task(task_id=task)
refused(qbittorrentapi.NotFound404Error, lambda: client.torrentcreator_status(task_id=task))

# A feed, and a rule that waits for what it brings.
FEED = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>Feed</title><item>
<title>Show S01E01 1080p</title><guid>1</guid><link>http://127.0.0.1:9/1.torrent</link>
</item></channel></rss>"""


class Feeds(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/rss+xml")
        self.end_headers()
        self.wfile.write(FEED)

    def log_message(self, *words):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Feeds)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/feed"


def articles(*path):
    found = client.rss_items(include_feed_data=True)
    for name in path:
        found = found[name]
    return found["articles"]


client.rss_add_folder(folder_path="shows")
client.rss_add_feed(url=url, item_path="shows\\feed")
wait("the feed", lambda: articles("shows", "feed"))
assert articles("shows", "feed")[0]["title"] == "Show S01E01 1080p"
assert "articles" not in client.rss.items.without_data["shows"]["feed"]
refused(qbittorrentapi.Conflict409Error, lambda: client.rss_add_feed(url=url, item_path="again"))
client.rss_set_rule(rule_name="rule", rule_def={"enabled": False, "mustContain": "Show", "affectedFeeds": [url]})
assert client.rss_rules()["rule"]["mustContain"] == "Show"
assert list(client.rss_matching_articles(rule_name="rule").values()) == [["Show S01E01 1080p"]]
client.rss_rename_rule(orig_rule_name="rule", new_rule_name="ruler")
assert set(client.rss_rules()) == {"ruler"}
client.rss_remove_rule(rule_name="ruler")
client.rss_mark_as_read(item_path="shows\\feed", article_id=articles("shows", "feed")[0]["id"])
assert articles("shows", "feed")[0]["isRead"] is True
client.rss_refresh_item(item_path="shows\\feed")
client.rss_move_item(orig_item_path="shows\\feed", new_item_path="feed")
client.rss_set_feed_url(url=url + "2", item_path="feed")
assert client.rss_items()["feed"]["url"] == url + "2"
client.rss_remove_item(item_path="feed")
client.rss_remove_item(item_path="shows")
assert client.rss_items() == {}

# The same by the library's objects.
assert client.app.version == client.application.version == "v5.1.4"
assert client.app.preferences.save_path and client.log.main() == []
assert client.torrents.info.all()[0].hash == digest
assert "film" in client.torrent_categories.categories and "z" in client.torrent_tags.tags
assert client.sync.maindata().full_update
client.torrents_delete(delete_files=True, torrent_hashes=digest)
assert client.torrents_info() == []
client.auth_log_out()
client.auth_log_in()
client.app_shutdown()
all_calls_were_made(qbittorrentapi.Client, client.used, EXPLAINED)
