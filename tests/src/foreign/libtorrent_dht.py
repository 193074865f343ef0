"""Drives a node of the DHT of libtorrent for the tests: it joins at `--bootstrap`, and does one thing again and again. JSON lines.

announce HASH   announces a peer at port 7777
get-peers HASH  says `peers`
put TEXT        stores an item, and says its `target`
get TARGET      says the `value` of an item
put-mutable TEXT, get-mutable KEY  the same with items that are signed, the first with the key of BEP 44's test vectors
"""

import argparse
import json
import sys
import time

import libtorrent as lt


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


parser = argparse.ArgumentParser()
parser.add_argument("mode")
parser.add_argument("what")
parser.add_argument("--listen", required=True)
parser.add_argument("--bootstrap", required=True)
options = parser.parse_args()
kinds = lt.alert.category_t
ses = lt.session({
    "listen_interfaces": options.listen,
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_bootstrap_nodes": options.bootstrap,
    "alert_mask": kinds.dht_notification | kinds.error_notification | kinds.status_notification | kinds.dht_operation_notification,
})
say("ready")
# The key of the test vectors of BEP 44.
key = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
secret = bytes.fromhex("e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74d"
                       "b7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d")


def act():
    what = options.what
    if options.mode == "announce":
        ses.dht_announce(lt.sha1_hash(bytes.fromhex(what)), 7777)
    elif options.mode == "get-peers":
        ses.dht_get_peers(lt.sha1_hash(bytes.fromhex(what)))
    elif options.mode == "put":
        say("put", target=str(ses.dht_put_immutable_item(what)))
    elif options.mode == "get":
        ses.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(what)))
    elif options.mode == "put-mutable":
        ses.dht_put_mutable_item(secret, key, what.encode(), b"")
    elif options.mode == "get-mutable":
        ses.dht_get_mutable_item(bytes.fromhex(what), b"")
    else:
        sys.exit(f"what is {options.mode}?")


again = 0
while True:
    for alert in ses.pop_alerts():
        print(alert.message(), file=sys.stderr, flush=True)
        if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.peers():
            say("peers", peers=[f"{peer[0]}:{peer[1]}" for peer in alert.peers()])
        elif isinstance(alert, lt.dht_immutable_item_alert) and alert.item:
            say("value", value=text(alert.item["value"] if isinstance(alert.item, dict) else alert.item))
        elif isinstance(alert, lt.dht_mutable_item_alert) and alert.item:
            say("value", value=text(alert.item["value"] if isinstance(alert.item, dict) else alert.item))
        elif isinstance(alert, lt.dht_put_alert) and alert.num_success:
            say("stored", nodes=alert.num_success)
    if time.monotonic() >= again:
        again = time.monotonic() + 1
        act()
    time.sleep(0.05)
