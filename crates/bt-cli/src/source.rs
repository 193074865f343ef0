//! SOURCE on the command line: a `.torrent` path, standard input, or a URL.
//!
//! Decides: how a torrent is fetched. Must not know: what is done with it.
//! Invariant: no more than the limit is read, whatever the source.

use crate::exit::{Exit, Failure, Outcome};
use bt_metainfo::Metainfo;
use bt_session::{Asker, Roots};
use std::io::Read as _;

/// The largest `.torrent` that is read from a file, and from the network.
const FILE_MAX: u64 = 64 << 20;
const URL_MAX: usize = 10 << 20;

/// Fetches and parses a torrent.
pub(crate) async fn load(source: &str) -> Outcome<Metainfo> {
    load_trusting(source, &Roots::default()).await
}

/// The same, and trusts these certificates for an https URL.
pub(crate) async fn load_trusting(source: &str, roots: &Roots) -> Outcome<Metainfo> {
    let invalid = |message: String| Failure::new(Exit::Input, "invalid_source", message);
    let bytes = if source == "-" {
        read(std::io::stdin(), "standard input")?
    } else if source.starts_with("http://") || source.starts_with("https://") {
        let asker = Asker::new(roots.clone()).map_err(anyhow::Error::from)?;
        let failed = |error| Failure::new(Exit::Network, "fetch_failed", format!("cannot fetch {source}: {error}"));
        asker.fetch(source, URL_MAX).await.map_err(failed)?
    } else if source.starts_with("magnet:") {
        return Err(Failure::usage("magnet links cannot be opened yet; give the .torrent file or its URL"));
    } else {
        let file = std::fs::File::open(source).map_err(|error| {
            invalid(format!("cannot read {source}: {error}; SOURCE is a .torrent file, `-` or an http(s) URL"))
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

/// Fetches a torrent that is to be transferred, not just looked at.
pub(crate) async fn load_for_transfer(source: &str, roots: &Roots) -> Outcome<Metainfo> {
    let torrent = load_trusting(source, roots).await?;
    match torrent.info.require_digests() {
        Ok(_) => Ok(torrent),
        Err(error) => Err(Failure::new(Exit::Input, error.code(), format!("{source}: {error}"))),
    }
}
