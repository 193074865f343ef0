"""Calls all that PyPI's transmission-rpc has, against a daemon beside a seed.

Arguments: port, torrent file, data directory, address of a seed.
"""
import sys
import time
import transmission_rpc

# What is not called, and why.
EXPLAINED = {}
# What a torrent is asked for besides: not properties.
METHODS = {"get", "get_files", "format_eta"}

port, torrent, data, seed = sys.argv[1:]
client = Watched(transmission_rpc.Client(host="127.0.0.1", port=int(port)))


def wait(what, until):
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def one():
    return client.get_torrent(ident)


def refused(call, *words):
    try:
        call()
    except transmission_rpc.TransmissionError as error:
        assert all(word in str(error) for word in words), error
        return
    raise AssertionError(f"{words}: it was not refused")


assert client.get_session().version.startswith("4.1.1")
assert client.server_version.startswith("4.1.1") and client.semver_version == "6.0.1"
assert client.rpc_version == 19 and len(client.session_id) == 48
assert client.url.endswith("/transmission/rpc") and "version" in client.raw_session
assert "hashString" in client.torrent_get_arguments
client.timeout = 60
with open(torrent, "rb") as file:
    added = client.add_torrent(file, paused=True, labels=["tv", "new"], download_dir=data)
ident = added.id
with open(torrent, "rb") as file:
    assert client.add_torrent(file).id == ident, "a duplicate is the torrent that is there"
wait("the check", lambda: one().status != "checking")
assert one().status == "stopped" and one().labels == ["tv", "new"]
client.start_torrent(ident)
wait("the download", lambda: one().percent_done == 1.0 and one().status == "seeding")
assert client.get_torrents(arguments=["id", "name"])[0].name == "album"
files = one().get_files()
assert len(files) == 5 and all(file.completed == file.size for file in files)
assert client.get_recently_active_torrents()[0][0].id == ident
assert one().left_until_done == 0 and one().error_string == ""
whole = one()
for name in dir(whole):
    if not name.startswith("_") and name not in METHODS:
        getattr(whole, name)
assert whole.format_eta() and whole.get("id") == ident
assert whole.info_hash == added.info_hash and whole.pieces and whole.peers is not None
assert sum(file.size for file in whole.get_files()) == whole.total_size
refused(lambda: client.add_torrent(b"no torrent"), "torrent")
refused(lambda: client.change_torrent(ident, files_unwanted=[99]), "out of range")
refused(lambda: client.free_space("/there/is/nothing"), "")
refused(client.blocklist_update, "blocklist")
client.stop_torrent(ident)
wait("the stop", lambda: one().status == "stopped")
client.start_torrent(ident, bypass_queue=True)
client.start_torrent_now(ident)
client.start_all()
client.start_all(bypass_queue=True)
client.verify_torrent(ident)
wait("the second check", lambda: one().status == "seeding")
client.reannounce_torrent(ident)
client.change_torrent(
    ident, upload_limit=100, upload_limited=True, download_limit=5, download_limited=True,
    seed_ratio_limit=1.5, seed_ratio_mode=1, seed_idle_limit=10, seed_idle_mode=1,
    labels=["films"], priority_high=[0], files_unwanted=[1], peer_limit=20,
    tracker_add=["http://127.0.0.1:1/announce"],
)
changed = one()
assert changed.upload_limit == 100 and changed.download_limited is True
assert changed.seed_ratio_limit == 1.5 and changed.labels == ["films"]
assert changed.get_files()[0].priority == 1 and not changed.get_files()[1].selected
assert [tracker.announce for tracker in changed.trackers][-1] == "http://127.0.0.1:1/announce"
client.change_torrent(ident, tracker_replace=[(1, "http://127.0.0.1:2/announce")])
client.change_torrent(ident, tracker_list=[["http://127.0.0.1:3/announce"], ["http://127.0.0.1:4/announce"]])
assert len(one().tracker_list) == 2 and len(one().tracker_stats) == 2
client.change_torrent(ident, tracker_remove=[0])
assert len(one().trackers) == 1
client.change_torrent(ident, files_wanted=[1])
client.move_torrent_data(ident, data + "/moved")
wait("the move", lambda: one().download_dir == data + "/moved" and one().status == "seeding")
path = files[0].name
client.rename_torrent_path(ident, path, "renamed.bin")
assert one().get_files()[0].name.endswith("/renamed.bin")
for move in (client.queue_top, client.queue_up, client.queue_down, client.queue_bottom):
    move(ident)
client.set_session(
    speed_limit_down=77, speed_limit_down_enabled=True, download_queue_size=3,
    download_queue_enabled=True, seed_ratio_limit=3.0, seed_ratio_limited=True,
    alt_speed_time_day=127, peer_limit_global=99, lpd_enabled=False, start_added_torrents=False,
)
session = client.get_session()
assert (session.speed_limit_down, session.seed_ratio_limit) == (77, 3.0)
assert session.peer_limit_global == 99 and session.download_dir
assert client.free_space(data) > 0
assert client.port_test() in (True, False)
assert client.get_groups() == {}
client.set_group("slow", speed_limit_down=50, speed_limit_down_enabled=True)
assert client.get_group("slow").speed_limit_down == 50 and set(client.get_groups()) == {"slow"}
assert client.get_group("none") is None
client.change_torrent(ident, group="slow")
assert one().group == "slow"
assert client.session_stats().torrent_count == 1
client.remove_torrent(ident, delete_data=True)
assert client.get_torrents() == []
all_calls_were_made(transmission_rpc.Client, client.used, EXPLAINED)
