"""Calls all that PyPI's qbittorrent-api has of what this daemon does, beside a seed.

Arguments: port, torrent file, data directory, address of a seed.
"""
import sys
import time
import qbittorrentapi

port, torrent, data, seed = sys.argv[1:]
client = qbittorrentapi.Client(host=f"127.0.0.1:{port}", username="bt", password="any")


def wait(what, until):
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


client.auth_log_in()
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
client.torrents_pause(torrent_hashes=digest)
wait("the stop", lambda: one().state == "stoppedUP")
client.torrents_resume(torrent_hashes="all")
client.torrents_recheck(torrent_hashes=digest)
wait("the second check", lambda: one().state in ("stalledUP", "uploading"))
client.torrents_reannounce(torrent_hashes=digest)
try:
    client.torrents_top_priority(torrent_hashes=digest)
    raise AssertionError("there is no queue")
except qbittorrentapi.Conflict409Error:
    pass
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
try:
    client.torrents_rename_file(torrent_hash=digest, old_path="album/first.bin", new_path="../../out")
    raise AssertionError("a path outside")
except qbittorrentapi.Conflict409Error:
    pass
client.torrents_file_priority(torrent_hash=digest, file_ids=[0], priority=7)
client.torrents_add_trackers(torrent_hash=digest, urls=["http://127.0.0.1:5/announce"])
client.torrents_edit_tracker(torrent_hash=digest, original_url="http://127.0.0.1:5/announce", new_url="http://127.0.0.1:6/announce")
client.torrents_remove_trackers(torrent_hash=digest, urls="http://127.0.0.1:6/announce")
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
client.log_main()
client.log_peers()
assert client.search_plugins() == [] and client.search_status() == []
assert client.app_default_save_path() and client.app_network_interface_list()
assert client.torrents_count() == 1
client.torrents_delete(delete_files=True, torrent_hashes=digest)
assert client.torrents_info() == []
client.auth_log_out()
