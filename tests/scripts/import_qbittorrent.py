"""Gives a qBittorrent torrents in all states, or compares its list with that of a daemon.

Arguments: `fill` or `compare`, port, file of the list; to fill also: directory of the torrents,
directory of the data, address of a seed.
"""
import glob
import json
import sys
import time
import urllib.parse
import urllib.request
import uuid

act, port, kept, *rest = sys.argv[1:]
torrents, data, seed = rest or [None] * 3
base = f"http://127.0.0.1:{port}/api/v2/"
LINK = "magnet:?xt=urn:btih:" + "ab" * 20 + "&dn=a%20link&tr=http%3A%2F%2F127.0.0.1%3A1%2Fannounce"


def ask(path, form=None, files=None):
    body, head = None, {}
    if files:
        mark = uuid.uuid4().hex
        part = f"--{mark}\r\nContent-Disposition: form-data; name="
        body = b"".join(f'{part}"{k}"\r\n\r\n{v}\r\n'.encode() for k, v in form.items())
        body += f'{part}"torrents"; filename="a.torrent"\r\n'.encode()
        body += b"Content-Type: application/x-bittorrent\r\n\r\n" + files + b"\r\n"
        body += f"--{mark}--\r\n".encode()
        head["Content-Type"] = f"multipart/form-data; boundary={mark}"
    elif form is not None:
        body = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(base + path, body, head)
    return urllib.request.urlopen(request, timeout=30).read().decode()


def wait(what, until):
    deadline = time.monotonic() + 60
    while not (found := until()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def rows():
    return {row["hash"]: row for row in json.loads(ask("torrents/info"))}


def settled():
    """Returns the list once nothing is checked any more."""
    all = rows()
    busy = any(row["state"].startswith(("checking", "moving", "alloc")) for row in all.values())
    return None if busy else all


def with_files():
    all = wait("the checks", settled)
    for hash, row in all.items():
        if row["total_size"] > 0:
            row["files"] = json.loads(ask(f"torrents/files?hash={hash}"))
    return all


def add(torrent, **form):
    with open(torrent, "rb") as file:
        bytes = file.read()
    before = set(rows())
    assert ask("torrents/add", {"savepath": data, **form}, bytes) == "Ok."
    return wait("the torrent", lambda: set(rows()) - before).pop()


def fill():
    for path in sorted(glob.glob(torrents + "/*.torrent")):
        kind = path.split("/")[-1].split("-")[0]
        form = {
            "stopped": {"paused": "true"},
            "halfstopped": {"paused": "true"},
            "skipped": {"paused": "true"},
            "labelled": {"category": "film", "tags": "new,two words"},
            "limited": {"upLimit": 50000, "dlLimit": 70000, "ratioLimit": 2.5,
                        "seedingTimeLimit": 120},
            "named": {"rename": "Another name"},
            "ordered": {"sequentialDownload": "true", "firstLastPiecePrio": "true"},
            "bare": {"contentLayout": "NoSubfolder", "savepath": data + "/bare"},
            "boxed": {"contentLayout": "Subfolder"},
            "fetched": {"savepath": data + "/fetched"},
        }.get(kind, {})
        hash = add(path, **form)
        if form.get("paused"):
            ask("torrents/recheck", {"hashes": hash})
        if kind == "skipped":
            ask("torrents/filePrio", {"hash": hash, "id": "1", "priority": 0})
            ask("torrents/filePrio", {"hash": hash, "id": "2", "priority": 7})
            wait("the check", settled)
            ask("torrents/resume", {"hashes": hash})
        if kind == "refiled":
            wait("the check", settled)
            name = json.loads(ask(f"torrents/files?hash={hash}"))[0]["name"]
            form = {"hash": hash, "oldPath": name, "newPath": "renamed.bin"}
            ask("torrents/renameFile", form)
        if kind == "refolded":
            wait("the check", settled)
            name = json.loads(ask(f"torrents/files?hash={hash}"))[0]["name"].split("/")[0]
            ask("torrents/renameFolder", {"hash": hash, "oldPath": name, "newPath": "renamed"})
        if kind == "fetched":
            wait("the check", settled)
            ask("torrents/setForceStart", {"hashes": hash, "value": "true"})
            ask("torrents/addPeers", {"hashes": hash, "peers": seed})
            wait("the download", lambda: rows()[hash]["amount_left"] == 0)
    before = set(rows())
    ask("torrents/add", {"urls": LINK, "savepath": data})
    wait("the link", lambda: set(rows()) - before)
    # A new name of a file is in the list once it is on the disk.
    wait("the names", lambda: "renamed.bin" in json.dumps(with_files()))
    with open(kept, "w") as file:
        json.dump(with_files(), file)


SAME = ["name", "category", "size", "total_size", "up_limit", "dl_limit", "ratio_limit",
        "seeding_time_limit", "seq_dl", "f_l_piece_prio", "force_start", "added_on", "downloaded",
        "uploaded"]


def limit(value):
    return max(value, 0)


def compare():
    with open(kept) as file:
        theirs = json.load(file)
    ours = with_files()
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    for hash, their in theirs.items():
        our, kind = ours[hash], their["save_path"] + " " + their["name"]
        for key in SAME:
            a, b = their[key], our[key]
            if key in ("up_limit", "dl_limit", "size", "total_size"):
                a, b = limit(a), limit(b)
            assert a == b, (kind, key, a, b)
        assert their["save_path"].rstrip("/") == our["save_path"].rstrip("/") \
            or "bare" in kind or "boxed" in kind, (kind, their["save_path"], our["save_path"])
        split = lambda row: sorted(tag for tag in row["tags"].split(", ") if tag)
        assert split(their) == split(our), kind
        is_stopped = lambda row: row["state"].startswith(("paused", "stopped"))
        if "missing" in kind:
            assert our["state"] in ("error", "missingFiles"), our["state"]
            continue
        assert is_stopped(their) == is_stopped(our), (kind, their["state"], our["state"])
        if "changed" in kind:
            assert 0 < our["amount_left"] < our["size"], (kind, our["amount_left"])
            continue
        assert their["amount_left"] == our["amount_left"], (kind, their, our)
        assert max(their["completion_on"], 0) == max(our["completion_on"], 0) \
            or their["amount_left"] > 0, kind
        files = lambda row: [(f["size"], f["progress"], min(f["priority"], 6))
                             for f in row.get("files", [])]
        assert files(their) == files(our), (kind, files(their), files(our))
        if their["amount_left"] == 0 and their["total_size"] > 0:
            assert their["content_path"] == our["content_path"] or "bare" in kind, \
                (kind, their["content_path"], our["content_path"])
    said = json.loads(ask("transfer/info"))
    assert said["dl_info_data"] == 0, said
