//! A whole `.torrent` file.
//!
//! Decides: how the keys outside `info` are read: trackers, web seeds, nodes, texts.
//! Must not know: pieces, disks, sockets.
//! Invariant: `info_bytes` are the bytes of the input, and the info-hashes are theirs.

use crate::builder::Outside;
use crate::{Info, Magnet, MetainfoError, fields};
use alloc::string::{String, ToString as _};
use alloc::{borrow::ToOwned as _, format, vec, vec::Vec};
use bt_bencoding::{Cursor, Kind, Limits, scan};
use bt_types::{InfoHash, InfoHashV2, InfoHashes};
use bytes::Bytes;

/// Most trackers, web seeds and nodes, each, that we keep.
const ADDRESSES_MAX: usize = 1000;

/// A torrent. Made only by parsing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Metainfo {
    /// Which versions of the format it has.
    pub format: Format,
    /// Its info-hashes.
    pub info_hashes: InfoHashes,
    /// Its content.
    pub info: Info,
    /// The original bytes of `info`, as peers exchange them (BEP 9).
    pub info_bytes: Bytes,
    /// Peers may come from its trackers only (BEP 27).
    pub private: bool,
    /// The `source` inside `info`, which sets apart equal torrents of different sites.
    pub source: Option<String>,
    /// Announce URLs in tiers (BEP 12); `announce` alone is one tier.
    pub trackers: Vec<Vec<String>>,
    /// URLs of web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// DHT nodes to begin with: host and port (BEP 5).
    pub nodes: Vec<(String, u16)>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// The program that made it.
    pub created_by: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// Oddities that a stricter reader would refuse, and our changes, one sentence each.
    pub warnings: Vec<String>,
}

/// Which versions of the format a torrent has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// BEP 3.
    V1,
    /// BEP 52 alone.
    V2,
    /// Both, describing the same files.
    Hybrid,
}

impl Format {
    /// Returns the name in `--json` output.
    pub fn name(self) -> &'static str {
        match self {
            Format::V1 => "v1",
            Format::V2 => "v2",
            Format::Hybrid => "hybrid",
        }
    }

    /// Returns the format of an `info` dictionary. The version is checked before anything else (BEP
    /// 52).
    pub(crate) fn of(info: Cursor<'_>) -> Result<Format, MetainfoError> {
        let version = info
            .get(b"meta version")
            .map(|version| version.as_int().ok_or(MetainfoError::WrongType("meta version")));
        match (version.transpose()?, info.get(b"pieces").is_some()) {
            (None | Some(1), _) => Ok(Format::V1),
            (Some(2), true) => Ok(Format::Hybrid),
            (Some(2), false) => Ok(Format::V2),
            (Some(newer), _) => Err(MetainfoError::UnsupportedVersion(newer)),
        }
    }
}

impl Metainfo {
    /// Parses a `.torrent` file. Unsorted keys, odd numbers, both `length` and `files`, and
    /// trailing bytes of a v1 torrent become warnings.
    pub fn from_bytes(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
        let found = scan(bytes, Limits::TORRENT)?;
        let (root, trailing) = Cursor::parse_prefix(bytes, Limits::TORRENT)?;
        if root.dict().next().is_none() {
            return Err(MetainfoError::NotATorrent);
        }
        let mut warnings = Vec::new();
        if !found.sorted {
            warnings.push("the keys of a dictionary are not sorted".to_owned());
        }
        if found.odd_numbers {
            warnings.push("a number has leading zeros, or is -0".to_owned());
        }
        if !trailing.is_empty() {
            warnings.push(format!("{} bytes after the end were ignored", trailing.len()));
        }
        let info_dict = fields::required(root, "info", Kind::Dict)?;
        Ok(Metainfo {
            trackers: trackers(root),
            web_seeds: strings(root.get(b"url-list")),
            nodes: nodes(root),
            creation_date: root.get(b"creation date").and_then(|date| date.as_int()),
            created_by: fields::text(root, "created by"),
            comment: fields::text(root, "comment.utf-8").or_else(|| fields::text(root, "comment")),
            ..Metainfo::of_info(info_dict, warnings)?
        })
    }

    /// Makes a torrent of an `info` dictionary as peers exchange it (BEP 9), and of a magnet link's
    /// other values.
    ///
    /// The info-hashes are those of the bytes: the caller must compare them with the wanted ones.
    pub fn from_info(
        info_bytes: &[u8],
        trackers: Vec<Vec<String>>,
        web_seeds: Vec<String>,
    ) -> Result<Metainfo, MetainfoError> {
        let info = Cursor::parse(info_bytes, Limits::TORRENT)?;
        if info.kind() != Kind::Dict {
            return Err(MetainfoError::WrongType("info"));
        }
        Ok(Metainfo { trackers, web_seeds, ..Metainfo::of_info(info, Vec::new())? })
    }

    /// Writes the bytes of an equal `.torrent` file; `info` is as it came.
    pub fn to_bytes(&self) -> Vec<u8> {
        let outside = Outside {
            trackers: &self.trackers,
            comment: self.comment.as_ref(),
            created_by: self.created_by.as_ref(),
            creation_date: self.creation_date,
            nodes: &self.nodes,
            web_seeds: &self.web_seeds,
        };
        outside.around(|info| info.encoded(&self.info_bytes))
    }

    /// Makes the magnet link: info-hashes, name, trackers, web seeds.
    pub fn magnet(&self) -> String {
        Magnet {
            name: Some(self.info.name.clone()),
            trackers: self.trackers.iter().flatten().cloned().collect(),
            web_seeds: self.web_seeds.clone(),
            ..Magnet::new(self.info_hashes)
        }
        .to_string()
    }

    /// Makes a torrent of `info` alone.
    fn of_info(
        info_dict: Cursor<'_>,
        mut warnings: Vec<String>,
    ) -> Result<Metainfo, MetainfoError> {
        let info_bytes = Bytes::copy_from_slice(info_dict.span());
        let (info, format) = Info::parse(info_dict, &info_bytes, &mut warnings)?;
        Ok(Metainfo {
            format,
            info_hashes: info_hashes(format, info_dict.span()),
            info,
            info_bytes,
            // Every integer except 0, as other clients read it: their peers must not leak into the
            // DHT.
            private: info_dict
                .get(b"private")
                .and_then(|flag| flag.as_int())
                .is_some_and(|flag| flag != 0),
            source: fields::text(info_dict, "source"),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            nodes: Vec::new(),
            creation_date: None,
            created_by: None,
            comment: None,
            warnings,
        })
    }
}

fn info_hashes(format: Format, info: &[u8]) -> InfoHashes {
    InfoHashes {
        v1: (format != Format::V2).then(|| InfoHash(bt_hash::sha1(info))),
        v2: (format != Format::V1).then(|| InfoHashV2(bt_hash::sha256(info))),
    }
}

/// Reads the tiers of `announce-list`, or `announce` when that gives none. A tier that is a plain
/// string is tolerated.
fn trackers(root: Cursor<'_>) -> Vec<Vec<String>> {
    let tiers =
        root.get(b"announce-list").into_iter().flat_map(|tiers| tiers.list()).take(ADDRESSES_MAX);
    let mut left = ADDRESSES_MAX;
    let mut kept: Vec<Vec<String>> = Vec::new();
    for tier in tiers {
        let mut urls = strings(Some(tier));
        urls.truncate(left);
        left = left.saturating_sub(urls.len());
        if !urls.is_empty() {
            kept.push(urls);
        }
    }
    if kept.is_empty() {
        kept.extend(strings(root.get(b"announce")).into_iter().next().map(|url| vec![url]));
    }
    kept
}

/// Reads the URLs of a list, or of a single string; values that are no printable strings are left
/// out.
fn strings(value: Option<Cursor<'_>>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    let items = value.list().filter_map(|item| item.as_bytes()).take(ADDRESSES_MAX);
    let url = |bytes| {
        core::str::from_utf8(bytes)
            .ok()
            .map(str::trim)
            .filter(|url| !url.is_empty() && !url.contains(fields::is_steering))
    };
    value.as_bytes().into_iter().chain(items).filter_map(url).map(str::to_owned).collect()
}

fn nodes(root: Cursor<'_>) -> Vec<(String, u16)> {
    let node = |node: Cursor<'_>| {
        let mut parts = node.list();
        let host = strings(parts.next()).pop()?;
        let port = u16::try_from(parts.next()?.as_int()?).ok().filter(|port| *port != 0)?;
        Some((host, port))
    };
    root.get(b"nodes")
        .into_iter()
        .flat_map(|list| list.list())
        .take(ADDRESSES_MAX)
        .filter_map(node)
        .collect()
}
