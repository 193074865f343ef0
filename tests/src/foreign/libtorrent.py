"""Drives libtorrent for the tests: `check` verifies data, `share` downloads and seeds, `many` seeds many. Prints JSON lines."""

import argparse
import json
import os
import sys
import time

import libtorrent as lt


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def session(listen, tcp_only=False, dht=None, lsd=False):
    # Only what needs the outside world is off; encryption and the rest stay at their defaults.
    return lt.session({
        "listen_interfaces": listen,
        "enable_dht": dht is not None,
        "dht_bootstrap_nodes": dht or "",
        # The nodes of a test are on one network.
        "dht_restrict_routing_ips": False,
        "dht_restrict_search_ips": False,
        "enable_lsd": lsd,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": not tcp_only,
        "enable_incoming_utp": not tcp_only,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.error_notification | lt.alert.category_t.peer_notification
        | lt.alert.category_t.storage_notification | lt.alert.category_t.dht_notification,
    })


def add(ses, path, directory, super_seed=False, pex=True):
    if path.startswith("magnet:"):
        params = lt.parse_magnet_uri(path)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(path)
    params.save_path = directory
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if not pex:
        params.flags |= lt.torrent_flags.disable_pex
    if super_seed:
        params.flags |= lt.torrent_flags.super_seeding
    return ses.add_torrent(params)


def wait_checked(handle):
    checking = (lt.torrent_status.checking_files, lt.torrent_status.checking_resume_data)
    while True:
        status = handle.status()
        if status.errc.value():
            sys.exit(f"{handle.name()}: {status.errc.message()}")
        if status.state not in checking:
            return status
        time.sleep(0.02)


def check(options):
    ses = session("127.0.0.1:0")
    for path in options.torrents:
        handle = add(ses, path, options.dir)
        status = wait_checked(handle)
        say("checked", torrent=path, info_hash=str(handle.info_hashes().v1), progress=status.progress)
        ses.remove_torrent(handle)


def share(options):
    ses = session(options.listen, options.tcp_only, options.dht, options.lsd)
    # It seeks a torrent in the DHT when that is added, and if it knows no node then, a quarter of an hour later.
    while options.dht and not any(isinstance(alert, lt.dht_bootstrap_alert) for alert in ses.pop_alerts()):
        time.sleep(0.01)
    say("open")
    if options.wait:
        sys.stdin.readline()
    handle = add(ses, options.torrents[0], options.dir, options.super_seed, not options.no_pex)
    # Of the torrent: the limit of a session spares local networks.
    handle.set_download_limit(options.down)
    wait_checked(handle)
    host = options.listen.rsplit(":", 1)[0]
    say("ready", listen=[f"{host}:{ses.listen_port()}"])
    if options.peer:
        host, port = options.peer.rsplit(":", 1)
        handle.connect_peer((host, int(port)))
    flushing, complete, before = False, False, None
    known = not options.torrents[0].startswith("magnet:")
    while True:
        for alert in ses.pop_alerts():
            print(alert.message(), file=sys.stderr, flush=True)
            if isinstance(alert, lt.cache_flushed_alert) and flushing and not complete:
                complete = True
                say("complete", downloaded=handle.status().total_payload_download)
        status = handle.status()
        if status.has_metadata and not known:
            known = True
            say("metadata", name=status.name)
        now = (status.total_wanted_done, status.total_payload_upload)
        if now != before:
            say("progress", bytes_done=now[0], bytes_up=now[1])
            before = now
        if status.is_seeding and not flushing:
            # It is complete before its last pieces are written.
            handle.flush_cache()
            flushing = True
        time.sleep(0.05)


def many(options):
    ses = session(options.listen, options.tcp_only)
    # Each of many torrents may have its peers.
    ses.apply_settings({"connections_limit": 1000})
    say("open")
    sys.stdin.readline()
    handles = []
    for entry in sorted(os.scandir(options.torrents[0]), key=lambda entry: entry.name):
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(entry.path)
        params.save_path = options.dir
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        params.flags |= lt.torrent_flags.seed_mode
        handles.append(ses.add_torrent(params))
    while not all(handle.status().is_seeding for handle in handles):
        time.sleep(0.02)
    say("added", torrents=len(handles))
    say("ready", listen=[f"127.0.0.1:{ses.listen_port()}"])
    sys.stdin.readline()


parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=["check", "share", "many"])
parser.add_argument("torrents", nargs="+")
parser.add_argument("--dir", required=True)
parser.add_argument("--listen", default="0.0.0.0:0")
parser.add_argument("--peer")
parser.add_argument("--tcp-only", action="store_true")
parser.add_argument("--super-seed", action="store_true")
parser.add_argument("--dht", help="a node to begin at; without it there is no DHT")
parser.add_argument("--lsd", action="store_true")
parser.add_argument("--no-pex", action="store_true")
parser.add_argument("--down", type=int, default=0, help="bytes per second")
parser.add_argument("--wait", action="store_true", help="for a line on standard input, before it begins")
chosen = parser.parse_args()
{"check": check, "share": share, "many": many}[chosen.mode](chosen)
