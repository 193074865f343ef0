//! SOURCE on the command line: a `.torrent` path, standard input, a URL or a magnet link.
//!
//! Decides: how a torrent is fetched. Must not know: what is done with it.
//! Invariant: no more than the limit is read, whatever the source.

use crate::exit::{Exit, Failure, Outcome};
use bt_metainfo::{Magnet, Metainfo};
use bt_session::{Asker, Roots};
use bt_types::InfoHash;
use std::io::Read as _;

/// The largest `.torrent` that is read from a file, and from the network.
const FILE_MAX: u64 = 64 << 20;
const URL_MAX: usize = 10 << 20;

/// What a SOURCE is.
#[derive(Debug)]
pub(crate) enum Source {
    /// All that there is to know of a torrent.
    Torrent(Box<Metainfo>),
    /// What names it.
    Magnet(Magnet),
}

impl Source {
    /// The name to show.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Torrent(torrent) => torrent.info.name.clone(),
            Source::Magnet(magnet) => magnet.name.clone().unwrap_or_else(|| self.hash().unwrap_or_default()),
        }
    }

    /// What names its swarm.
    pub(crate) fn swarm(&self) -> Option<InfoHash> {
        match self {
            Source::Torrent(torrent) => torrent.info_hashes.swarm(),
            Source::Magnet(magnet) => magnet.info_hashes.swarm(),
        }
    }

    /// The same in hex.
    pub(crate) fn hash(&self) -> Option<String> {
        self.swarm().map(|hash| hash.to_string())
    }

    /// Every tracker that it names.
    pub(crate) fn trackers(&self) -> Vec<&String> {
        match self {
            Source::Torrent(torrent) => torrent.trackers.iter().flatten().collect(),
            Source::Magnet(magnet) => magnet.trackers.iter().collect(),
        }
    }
}

/// Reads a source, and trusts these certificates for an https URL.
pub(crate) async fn open(source: &str, roots: &Roots) -> Outcome<Source> {
    if !source.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("magnet:")) {
        return load_trusting(source, roots).await.map(|torrent| Source::Torrent(Box::new(torrent)));
    }
    let invalid =
        |error: bt_metainfo::MagnetError| Failure::new(Exit::Input, error.code(), format!("the magnet link is refused: {error}"));
    Magnet::parse(source).map(Source::Magnet).map_err(invalid)
}

/// Fetches and parses a torrent.
pub(crate) async fn load(source: &str) -> Outcome<Metainfo> {
    load_trusting(source, &Roots::default()).await
}

/// The same, and trusts these certificates for an https URL.
async fn load_trusting(source: &str, roots: &Roots) -> Outcome<Metainfo> {
    let invalid = |message: String| Failure::new(Exit::Input, "invalid_source", message);
    let bytes = if source == "-" {
        read(std::io::stdin(), "standard input")?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        let asker = Asker::new(roots.clone()).map_err(anyhow::Error::from)?;
        let failed = |error| Failure::new(Exit::Network, "fetch_failed", format!("cannot fetch {source}: {error}"));
        asker.fetch(source, URL_MAX).await.map_err(failed)?
    } else if source.starts_with("magnet:") {
        let why = "a magnet link does not say enough here; `bt get --metadata-only` fetches the .torrent file that it stands for";
        return Err(Failure::usage(why));
    } else {
        let file = std::fs::File::open(source).map_err(|error| {
            invalid(format!("cannot read {source}: {error}; SOURCE is a .torrent file, `-`, an http(s) URL or a magnet link"))
        })?;
        if file.metadata().is_ok_and(|found| found.is_dir()) {
            return Err(invalid(format!("{source} is a directory; SOURCE is a .torrent file (`bt create` makes one)")));
        }
        read(file, source)?
    };
    parse(source, &bytes)
}

fn read(from: impl std::io::Read, name: &str) -> Outcome<Vec<u8>> {
    let invalid = |message: String| Failure::new(Exit::Input, "invalid_source", message);
    let mut bytes = Vec::new();
    from.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| invalid(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(invalid(format!("{name} is over 64 MiB: that is no .torrent file")));
    }
    Ok(bytes)
}

/// Parses a torrent that came from `source`.
pub(crate) fn parse(source: &str, bytes: &[u8]) -> Outcome<Metainfo> {
    Metainfo::from_bytes(bytes)
        .map_err(|error| Failure::new(Exit::Input, error.code(), format!("{source} is not a valid torrent: {error}")))
}

/// Reads a source that is to be transferred, not just looked at.
pub(crate) async fn open_for_transfer(source: &str, roots: &Roots) -> Outcome<Source> {
    let found = open(source, roots).await?;
    let digests = match &found {
        Source::Torrent(torrent) => torrent.info.require_digests().map(drop),
        Source::Magnet(magnet) => magnet.info_hashes.v1.map(drop).ok_or(bt_metainfo::MetainfoError::V2Unsupported),
    };
    digests.map_err(|error| Failure::new(Exit::Input, error.code(), format!("{source}: {error}")))?;
    Ok(found)
}

/// The same of what must be a torrent.
pub(crate) async fn load_for_transfer(source: &str, roots: &Roots) -> Outcome<Metainfo> {
    let torrent = load_trusting(source, roots).await?;
    match torrent.info.require_digests() {
        Ok(_) => Ok(torrent),
        Err(error) => Err(Failure::new(Exit::Input, error.code(), format!("{source}: {error}"))),
    }
}
