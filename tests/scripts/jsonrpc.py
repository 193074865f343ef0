"""Drives the daemon by JSON-RPC 2.0 with PyPI's jsonrpcclient, which knows nothing of torrents.

Arguments: port, torrent file, data directory, address of a seed.
"""
import base64
import sys
import time
import requests
from jsonrpcclient import Error, Ok, notification, parse, request

port, torrent, data, seed = sys.argv[1:]
URL = f"http://127.0.0.1:{port}/transmission/rpc"
ID = "X-Transmission-Session-Id"
session = requests.Session()
first = session.post(URL, json=request("session_get"), timeout=60)
assert first.status_code == 409 and first.headers["X-Transmission-Rpc-Version"] == "6.0.1"
session.headers[ID] = first.headers[ID]


def post(body):
    return session.post(URL, json=body, timeout=60)


def call(method, **params):
    """Returns the result of a call."""
    body = request(method, params=params)
    answer = post(body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["jsonrpc"] == "2.0", answer.text
    parsed = parse(answer.json())
    assert isinstance(parsed, Ok) and parsed.id == body["id"], parsed
    return parsed.result


def error(method, **params):
    """Returns the error of a call."""
    parsed = parse(post(request(method, params=params)).json())
    assert isinstance(parsed, Error), parsed
    assert parsed.message and parsed.data["error_string"], parsed
    return parsed.code


def wait(what, until):
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def one(*fields):
    return call("torrent_get", ids=[digest], fields=list(fields))["torrents"][0]


about = call("session_get", fields=["version", "rpc_version_semver", "download_dir"])
assert about["rpc_version_semver"] == "6.0.1" and about["download_dir"] == data, about
assert set(about) == {"version", "rpc_version_semver", "download_dir"}
assert not any("-" in key or key != key.lower() for key in call("session_get"))

with open(torrent, "rb") as file:
    metainfo = base64.b64encode(file.read()).decode()
added = call("torrent_add", metainfo=metainfo, download_dir=data, paused=True, labels=["tv"])
digest = added["torrent_added"]["hash_string"]
again = call("torrent_add", metainfo=metainfo)
assert again["torrent_duplicate"]["hash_string"] == digest
wait("the check", lambda: one("status")["status"] == 0)
assert call("torrent_start", ids=digest) == {}
wait("the download", lambda: one("status", "percent_done") == {"status": 6, "percent_done": 1.0})
row = one("name", "left_until_done", "labels", "wanted", "files", "tracker_stats", "download_dir")
assert (row["name"], row["left_until_done"], row["labels"]) == ("album", 0, ["tv"])
assert row["wanted"] == [True] * 5, "numbers are of the older protocol"
assert {"begin_piece", "bytes_completed", "length", "name"} <= row["files"][0].keys()
assert row["tracker_stats"][0]["last_announce_succeeded"] is True
table = call("torrent_get", fields=["id", "hash_string"], format="table")["torrents"]
assert table[0] == ["id", "hash_string"] and table[1][1] == digest
assert call("torrent_set", ids=[digest], seed_ratio_limit=1.5, seed_ratio_mode=1, labels=["a", "b"]) == {}
assert one("seed_ratio_limit", "labels") == {"seed_ratio_limit": 1.5, "labels": ["a", "b"]}
assert call("torrent_stop", ids=digest) == {}
wait("the stop", lambda: one("status")["status"] == 0)

# A batch has an answer for each call, and none for a notification.
batch = [
    request("torrent_start", params={"ids": [digest]}),
    notification("torrent_set", params={"ids": [digest], "labels": ["noted"]}),
    request("torrent_get", params={"ids": [digest], "fields": ["labels"]}, id="text"),
    request("no_such_method"),
]
answers = {answer.id: answer for answer in parse(post(batch).json())}
assert set(answers) == {batch[0]["id"], "text", batch[3]["id"]}
assert answers["text"].result["torrents"][0]["labels"] == ["noted"], "in their order"
assert answers[batch[3]["id"]].code == -32601

# Notifications alone have no body.
for body in (
    notification("torrent_stop", params={"ids": [digest]}),
    [notification("torrent_set", params={"ids": [digest], "labels": ["quiet"]}), notification("nothing")],
):
    answer = post(body)
    assert (answer.status_code, answer.text) == (204, ""), answer.text
wait("what was noted", lambda: one("labels", "status") == {"labels": ["quiet"], "status": 0})

# Errors have their codes.
assert error("no_such_method") == -32601
assert error("torrent_get") == -32602
assert error("torrent_add", metainfo=metainfo, download_dir="relative") == 3
assert error("torrent_add", metainfo="!") == 4
assert error("torrent_set", ids=[digest], files_unwanted=[99]) == 6
assert error("torrent_set", ids=[digest], tracker_add=["nonsense"]) == 2
assert error("free_space", path="/there/is/nothing") in (5, -32602)
for text, code in (("{", -32700), ("[]", -32600), ('{"jsonrpc":"1.0","method":"session_get","id":1}', -32600)):
    answer = session.post(URL, data=text, timeout=60).json()
    assert answer["error"]["code"] == code and answer["id"] in (None, 1), answer
assert isinstance(parse(post(request("session_get", params=[1, 2])).json()), Error), "names, not places"

assert call("session_set", speed_limit_down=70, speed_limit_down_enabled=True) == {}
assert call("session_get", fields=["speed_limit_down"]) == {"speed_limit_down": 70}
assert call("session_stats")["torrent_count"] == 1
assert call("torrent_remove", ids=[digest], delete_local_data=True) == {}
assert call("torrent_get", fields=["id"])["torrents"] == []
# Without the session id nothing is done.
assert requests.post(URL, json=request("session_close"), timeout=60).status_code == 409
