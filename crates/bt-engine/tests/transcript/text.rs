//! Parses single words of a script, and writes down single messages.
//!
//! Decides: their spelling. Must not know: engines.
//! Invariant: a word that cannot be understood is a panic.

use bt_engine::{PeerView, Priority, TrackerView};
use bt_peer_wire::{ExtendedHandshake, ExtensionIds, Message, MetadataMessage};
use bt_types::{Bitfield, Geometry, Time};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

pub(super) fn hello(hello: ExtendedHandshake) -> Message {
    Message::Extended { id: 0, payload: hello.to_bytes().into() }
}

pub(super) fn metadata(message: &MetadataMessage) -> Message {
    Message::Extended { id: ExtensionIds::METADATA, payload: message.to_bytes().into() }
}

/// Describes what our extension handshake says beside the usual.
pub(super) fn show_hello(hello: &ExtendedHandshake) -> String {
    let mut text = String::from("hello");
    if let Some(size) = hello.metadata_size {
        text.push_str(&format!(" with {size} bytes of metadata"));
    }
    if hello.ids.metadata.is_some() && hello.ids.pex != Some(ExtensionIds::PEX) {
        text.push_str(if hello.ids.pex.is_some() { " switches pex off" } else { " without pex" });
    }
    if hello.ids.metadata.is_none()
        && let Some(id) = hello.ids.pex
    {
        text.push_str(if id == 0 { " switches pex off" } else { " switches pex on" });
    }
    match hello.upload_only {
        None => {}
        Some(true) => text.push_str(" upload-only"),
        Some(false) => text.push_str(" not upload-only"),
    }
    text
}

pub(super) fn bitfield(bits: &str, geometry: &Geometry) -> Bitfield {
    let mut set = Bitfield::empty(geometry.piece_count());
    for (piece, _) in geometry.pieces().zip(bits.chars()).filter(|(_, bit)| *bit == '1') {
        set.insert(piece);
    }
    set
}

/// Parses one change, as `0-3 skip`.
pub(super) fn want(text: &str) -> (Range<u32>, Priority) {
    let (pieces, priority) = text.split_once(' ').unwrap();
    let priority = match priority {
        "skip" => Priority::Skip,
        "low" => Priority::Low,
        "normal" => Priority::Normal,
        "high" => Priority::High,
        _ => panic!("not understood: {text}"),
    };
    (range(pieces), priority)
}

/// Parses `3`, or `3-5` with both ends.
pub(super) fn range(text: &str) -> Range<u32> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().unwrap()..last.parse::<u32>().unwrap() + 1
}

pub(super) fn seconds(text: &str) -> Time {
    Time::from_secs(text.trim_end_matches('s').parse().unwrap())
}

pub(super) fn addr(name: char) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(1, 0, 0, name as u8 - b'A' + 1), 6881))
}

pub(super) fn name(addr: SocketAddr) -> char {
    match addr {
        SocketAddr::V4(addr) => char::from(addr.ip().octets()[3] + b'A' - 1),
        SocketAddr::V6(_) => '?',
    }
}

/// Writes what is known of a tracker.
pub(super) fn tracker(view: &TrackerView) -> String {
    let TrackerView { url, tier, standing, peers, message, .. } = view;
    format!("< {tier} {url}: {standing:?}, {peers} peers, {message:?}\n")
}

/// Writes what is known of a peer.
pub(super) fn peer(view: &PeerView) -> String {
    format!(
        "< {}: {} pieces, {} wanted, {} requests, {} bytes down, {} bytes up\n",
        name(view.addr),
        view.pieces,
        view.pieces_wanted,
        view.requests,
        view.bytes_down,
        view.bytes_up,
    )
}
