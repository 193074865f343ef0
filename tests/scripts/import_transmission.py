"""Gives a transmission-daemon torrents in all states, or compares its list with that of a daemon.

Arguments: `fill` or `compare`, port, file of the list; to fill also: directory of the torrents,
directory of the data.
"""
import glob
import json
import sys
import time
import urllib.error
import urllib.request

act, port, kept, *rest = sys.argv[1:]
torrents, data = rest or [None] * 2
LINK = "magnet:?xt=urn:btih:" + "ab" * 20 + "&dn=a%20link&tr=http%3A%2F%2F127.0.0.1%3A1%2Fannounce"
FIELDS = ["hashString", "name", "status", "labels", "downloadDir", "leftUntilDone", "sizeWhenDone",
          "totalSize", "uploadLimit", "uploadLimited", "downloadLimit", "downloadLimited",
          "seedRatioLimit", "seedRatioMode", "seedIdleLimit", "seedIdleMode", "addedDate",
          "doneDate", "downloadedEver", "uploadedEver", "wanted", "priorities", "files", "error"]
token = ""


def ask(method, **arguments):
    global token
    body = json.dumps({"method": method, "arguments": arguments}).encode()
    head = {"X-Transmission-Session-Id": token, "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/transmission/rpc", body, head)
    try:
        answer = json.load(urllib.request.urlopen(request, timeout=30))
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
        token = error.headers["X-Transmission-Session-Id"]
        return ask(method, **arguments)
    assert answer["result"] == "success", (method, answer)
    return answer["arguments"]


def wait(what, until):
    deadline = time.monotonic() + 60
    while not (found := until()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def settled():
    """Returns the list once nothing is checked any more."""
    rows = ask("torrent-get", fields=FIELDS)["torrents"]
    return None if any(row["status"] in (1, 2) for row in rows) else \
        {row["hashString"]: row for row in rows}


def one(hash):
    return wait("the check", settled)[hash]


def fill():
    for path in sorted(glob.glob(torrents + "/*.torrent")):
        kind = path.split("/")[-1].split("-")[0]
        form = {"stopped": {"paused": True}, "halfstopped": {"paused": True}}.get(kind, {})
        if kind == "skipped":
            form = {"files-unwanted": [1], "priority-high": [2], "priority-low": [0]}
        added = ask("torrent-add", filename=path, **{"download-dir": data, **form})
        hash = added["torrent-added"]["hashString"]
        if form.get("paused"):
            ask("torrent-verify", ids=[hash])
        change = {
            "labelled": {"labels": ["new", "two words"]},
            "limited": {"uploadLimit": 50, "uploadLimited": True, "downloadLimit": 70,
                        "downloadLimited": True, "seedRatioLimit": 2.5, "seedRatioMode": 1,
                        "seedIdleLimit": 45, "seedIdleMode": 1},
            "ordered": {"seedRatioMode": 2, "seedIdleMode": 2},
        }.get(kind)
        if change:
            ask("torrent-set", ids=[hash], **change)
        if kind in ("refiled", "refolded"):
            name = one(hash)["name"]
            ask("torrent-rename-path", ids=[hash], path=name, name="renamed " + kind)
    ask("torrent-add", filename=LINK, **{"download-dir": data})
    wait("the names", lambda: json.dumps(settled()).count("renamed ref") > 2)
    rows = wait("the checks", settled)
    with open(kept, "w") as file:
        json.dump(rows, file)


SAME = ["name", "downloadDir", "sizeWhenDone", "totalSize", "uploadLimited", "downloadLimited",
        "seedRatioMode", "seedIdleMode", "addedDate", "downloadedEver", "uploadedEver", "wanted",
        "priorities"]


def compare():
    with open(kept) as file:
        theirs = json.load(file)
    ours = wait("the checks", settled)
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    for hash, their in theirs.items():
        our, kind = ours[hash], their["name"]
        for key in SAME:
            assert their[key] == our[key], (kind, key, their[key], our[key])
        for limit, used in [("uploadLimit", "uploadLimited"), ("downloadLimit", "downloadLimited"),
                            ("seedRatioLimit", "seedRatioMode"), ("seedIdleLimit", "seedIdleMode")]:
            if their[used] == 1:
                assert their[limit] == our[limit], (kind, limit, their[limit], our[limit])
        assert sorted(their["labels"]) == sorted(our["labels"]), kind
        if "missing" in kind:
            assert our["error"] == 3, our
            continue
        assert (their["status"] == 0) == (our["status"] == 0), (kind, their["status"], our["status"])
        if "changed" in kind:
            assert 0 < our["leftUntilDone"] < our["totalSize"], (kind, our["leftUntilDone"])
            continue
        assert their["leftUntilDone"] == our["leftUntilDone"], (kind, their, our)
        if their["doneDate"] > 0:
            assert their["doneDate"] == our["doneDate"], kind
        files = lambda row: [(f["name"], f["length"], f["bytesCompleted"]) for f in row["files"]]
        assert their["leftUntilDone"] > 0 or files(their) == files(our), \
            (kind, files(their), files(our))
    said = ask("session-stats")
    assert said["current-stats"]["downloadedBytes"] == 0, said
