//! Real foreign clients, both directions, through our tracker and through a foreign one, and in one
//! swarm.
//!
//! Decides: which clients meet. Each process is in a network namespace of its own, as Transmission
//! refuses loopback peers.
//! Must not know: how the clients are configured, but that encryption is at their default.
//! Invariant: every copy is compared byte by byte with the original.

use crate::Test;
use bt_tests::foreign::{
    Aria2, CLIENTS, Libtorrent, Opentracker, Qbittorrent, Rqbit, Rtorrent, Transmission, Webtorrent,
};
use bt_tests::{Bt, Client, Meeting, Net, Process, Protocol, skip};
use std::fs;

#[test]
fn libtorrent_and_bt_download_from_each_other() -> Test {
    both_ways(&Libtorrent::DEFAULT)
}

// Transmission 3.00 waits ten seconds before it requests or serves, so that two tests can run side
// by side.
#[test]
fn bt_downloads_from_transmission() -> Test {
    meet(&Transmission, &[(&Transmission, &Bt::GET)])
}

#[test]
fn transmission_downloads_from_bt() -> Test {
    meet(&Transmission, &[(&Bt::SEED, &Transmission)])
}

#[test]
fn bt_downloads_from_aria2() -> Test {
    meet(&Aria2, &[(&Aria2, &Bt::GET)])
}

#[test]
fn aria2_downloads_from_bt() -> Test {
    meet(&Aria2, &[(&Bt::SEED, &Aria2)])
}

#[test]
fn qbittorrent_and_bt_download_from_each_other() -> Test {
    both_ways(&Qbittorrent)
}

#[test]
fn rtorrent_and_bt_download_from_each_other() -> Test {
    both_ways(&Rtorrent)
}

#[test]
fn webtorrent_and_bt_download_from_each_other() -> Test {
    both_ways(&Webtorrent)
}

fn both_ways(foreign: &dyn Client) -> Test {
    meet(foreign, &[(foreign, &Bt::GET), (&Bt::SEED, foreign)])
}

/// Lets each pair of a seed and a leecher meet, over each tracker protocol.
fn meet(foreign: &dyn Client, pairs: &[(&dyn Client, &dyn Client)]) -> Test {
    if foreign.version().is_none() {
        skip!("{} is not installed", foreign.name())
    }
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    for &(seed, leecher) in pairs {
        for protocol in [Protocol::Http, Protocol::Udp]
            .into_iter()
            .filter(|&protocol| foreign.announces_over(protocol))
        {
            let took = Meeting::new(&net, protocol)?.transfer(seed, leecher)?;
            println!("{} from {} through {protocol:?}: {took:.1?}", leecher.name(), seed.name());
        }
    }
    Ok(())
}

/// Clients announce `left=0` while they have only a link: our tracker names seeds to them
/// nevertheless.
#[test]
fn links_work_both_ways_through_our_tracker() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    for client in CLIENTS.into_iter().chain([&Rqbit as &dyn Client]) {
        if client.version().is_none() {
            // rqbit is in no package of the system.
            if client.name() != "rqbit" {
                skip!("{} is not installed", client.name())
            }
            continue;
        }
        for (seed, leecher) in [(client, &Bt::GET as &dyn Client), (&Bt::SEED, client)] {
            let took = Meeting::new(&net, Protocol::Http)?.transfer_by_link(seed, leecher)?;
            println!("{} from {} by link: {took:.1?}", leecher.name(), seed.name());
        }
    }
    Ok(())
}

#[test]
fn a_swarm_of_all_clients_completes() -> Test {
    let (here, absent): (Vec<&dyn Client>, Vec<_>) =
        CLIENTS.iter().partition(|client| client.version().is_some());
    if let Some(client) = absent.first() {
        skip!("{} is not installed", client.name())
    }
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    for guest in Meeting::new(&net, Protocol::Http)?.mixed(&here)? {
        println!("{:<16} {:>6.1?} {:>4} MiB sent", guest.name, guest.took, guest.bytes_up >> 20);
    }
    Ok(())
}

#[test]
fn bt_works_through_opentracker() -> Test {
    let Some(opentracker) = Opentracker::find() else { skip!("opentracker is not installed") };
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    for scheme in ["http", "udp"] {
        let host = net.host()?;
        let meeting = Meeting::through(
            &net,
            &format!("{scheme}://{}/announce", Opentracker::address(host.v4)),
        )?;
        let home = meeting.path("opentracker");
        fs::create_dir(&home)?;
        let command = opentracker.serve(host.v4, &[&meeting.info_hash()?], &home)?;
        let _tracker = Process::start("opentracker", &mut host.inside(&command))?;
        meeting.transfer(&Bt::SEED, &Bt::GET)?;
    }
    Ok(())
}
