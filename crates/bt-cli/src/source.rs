//! SOURCE on the command line: a `.torrent` path, standard input, a URL, a magnet link or an
//! info-hash.
//!
//! Decides: what a SOURCE is, how a torrent is fetched, and the errors for other input.
//! Must not know: what is done with it.
//! Invariant: no more than the limit is read, from any source.

use crate::exit::{Exit, Failure, Outcome};
use bt_metainfo::{Magnet, Metainfo};
use bt_session::{FetchError, OneShot, Roots};
use bt_types::InfoHash;
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Most bytes of a `.torrent` from a file, and from the network.
const FILE_MAX: u64 = 64 << 20;
const URL_MAX: usize = 10 << 20;
/// Most links in one file.
const LINKS_MAX: usize = 10_000;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a SOURCE is.
#[derive(Debug)]
pub(crate) enum Source {
    /// A whole torrent.
    Torrent(Arc<Metainfo>),
    /// A magnet link.
    Magnet(Magnet),
}

impl Source {
    /// Returns the name to show.
    pub(crate) fn name(&self) -> String {
        match self {
            Source::Torrent(torrent) => torrent.info.name.clone(),
            Source::Magnet(magnet) => {
                magnet.name.clone().unwrap_or_else(|| self.hash().unwrap_or_default())
            }
        }
    }

    /// Returns the info-hash that names its swarm.
    pub(crate) fn swarm(&self) -> Option<InfoHash> {
        match self {
            Source::Torrent(torrent) => torrent.info_hashes.swarm(),
            Source::Magnet(magnet) => magnet.info_hashes.swarm(),
        }
    }

    /// Returns the same in hex.
    pub(crate) fn hash(&self) -> Option<String> {
        self.swarm().map(|hash| hash.to_string())
    }

    /// Returns the link to pass on. None of a private torrent: its trackers' URLs belong to one
    /// user.
    pub(crate) fn magnet(&self) -> Option<String> {
        match self {
            Source::Torrent(torrent) => (!torrent.private).then(|| torrent.magnet()),
            Source::Magnet(magnet) => Some(magnet.to_string()),
        }
    }

    /// Returns what was tolerated or left out when it was read.
    pub(crate) fn warnings(&self) -> &[String] {
        match self {
            Source::Torrent(torrent) => &torrent.warnings,
            Source::Magnet(magnet) => &magnet.warnings,
        }
    }

    /// Returns every tracker that it names.
    pub(crate) fn trackers(&self) -> Vec<&String> {
        match self {
            Source::Torrent(torrent) => torrent.trackers.iter().flatten().collect(),
            Source::Magnet(magnet) => magnet.trackers.iter().collect(),
        }
    }
}

/// Reads a source of one torrent, and trusts these certificates for an https URL.
pub(crate) async fn open(source: &OsStr, roots: &Roots) -> Outcome<Source> {
    let mut found = open_all(source, roots).await?;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (_, more) => Err(Failure::usage(format!(
            "{} holds {} links; this command takes one",
            shown(source),
            more + 1
        ))),
    }
}

/// Reads a source; a file and standard input may hold several links, one in each line.
pub(crate) async fn open_all(source: &OsStr, roots: &Roots) -> Outcome<Vec<Source>> {
    let bytes = match Place::of(source) {
        Place::Link(link) => return Ok(vec![Source::Magnet(link?)]),
        Place::Url(url) => match fetch(url, roots).await? {
            Fetched::Bytes(bytes) => bytes,
            Fetched::Link(text) => return Ok(vec![Source::Magnet(link(&text)?)]),
        },
        Place::Unspoken(scheme) => {
            let why = format!("{}: {scheme} is not spoken here; {SOURCES}", shown(source));
            return Err(Failure::new(Exit::Input, "invalid_source", why));
        }
        Place::StandardInput => read(std::io::stdin(), "standard input")?,
        Place::File(path) => read_file(path)?,
    };
    let name = if source == "-" { "standard input".into() } else { shown(source) };
    match links(&bytes) {
        Some(links) => links.map(|link| link.map(Source::Magnet)).collect(),
        None => Ok(vec![Source::Torrent(Arc::new(parse(&name, &bytes)?))]),
    }
}

/// Fetches and parses a source that must be a torrent.
pub(crate) async fn load(source: &OsStr, roots: &Roots) -> Outcome<Metainfo> {
    match open(source, roots).await? {
        Source::Torrent(torrent) => Ok(Arc::unwrap_or_clone(torrent)),
        Source::Magnet(_) => Err(Failure::usage(
            "a magnet link does not say enough here; `bt get --metadata-only` fetches the .torrent file that it stands for",
        )),
    }
}

/// Refuses torrents that cannot be transferred.
pub(crate) fn require_transfer(source: &OsStr, found: &Source) -> Outcome {
    let digests = match found {
        Source::Torrent(torrent) => torrent.info.require_digests().map(drop),
        Source::Magnet(magnet) => {
            magnet.info_hashes.v1.map(drop).ok_or(bt_metainfo::MetainfoError::V2Unsupported)
        }
    };
    digests.map_err(|error| {
        Failure::new(Exit::Input, error.code(), format!("{}: {error}", shown(source)))
    })
}

/// The kinds of SOURCE, for errors.
const SOURCES: &str =
    "SOURCE is a .torrent file, `-`, an http(s) URL, a magnet link or an info-hash";

/// Where a source is.
enum Place<'a> {
    /// The text is a link, or an info-hash.
    Link(Outcome<Magnet>),
    Url(&'a str),
    /// A URL of another scheme.
    Unspoken(&'a str),
    StandardInput,
    File(&'a Path),
}

impl Place<'_> {
    /// Finds where a source is. An existing file is meant before a link that looks like its name.
    fn of(source: &OsStr) -> Place<'_> {
        let path = Path::new(source);
        let Some(text) = source.to_str().map(str::trim) else { return Place::File(path) };
        if text == "-" {
            return Place::StandardInput;
        }
        if starts_with_scheme(text, "magnet:") {
            return Place::Link(link(text));
        }
        if starts_with_scheme(text, "http://") || starts_with_scheme(text, "https://") {
            return Place::Url(text);
        }
        if path.symlink_metadata().is_ok() {
            return Place::File(path);
        }
        if let Some(magnet) = Magnet::of_digits(text) {
            return Place::Link(Ok(magnet));
        }
        match text.split_once("://") {
            Some((scheme, _))
                if !scheme.is_empty()
                    && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                Place::Unspoken(scheme)
            }
            _ => Place::File(path),
        }
    }
}

fn starts_with_scheme(text: &str, scheme: &str) -> bool {
    text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

fn link(text: &str) -> Outcome<Magnet> {
    Magnet::parse(text).map_err(|error| {
        Failure::new(Exit::Input, error.code(), format!("the magnet link is refused: {error}"))
    })
}

/// Reads the links of a text, one in each line, if its first line is one. Lines that begin with `#`
/// are comments.
fn links(bytes: &[u8]) -> Option<impl Iterator<Item = Outcome<Magnet>>> {
    let text = std::str::from_utf8(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)).ok()?;
    let lines =
        || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines().next()?;
    (starts_with_scheme(first, "magnet:") || Magnet::of_digits(first).is_some()).then(|| {
        lines().take(LINKS_MAX).map(|line| Magnet::of_digits(line).map_or_else(|| link(line), Ok))
    })
}

/// What a URL led to.
enum Fetched {
    Bytes(Vec<u8>),
    /// Some sites redirect to a magnet link.
    Link(String),
}

async fn fetch(url: &str, roots: &Roots) -> Outcome<Fetched> {
    let asker = OneShot::new(roots.clone()).map_err(anyhow::Error::from)?;
    match asker.fetch(url, URL_MAX).await {
        Ok(bytes) => Ok(Fetched::Bytes(bytes)),
        Err(FetchError::Magnet(text)) => Ok(Fetched::Link(text)),
        Err(error) => {
            let message = format!(
                "cannot fetch {}: {error}; try again later, or get the .torrent file or a magnet link elsewhere",
                without_password(url)
            );
            Err(Failure::new(Exit::Network, "fetch_failed", message))
        }
    }
}

fn read_file(path: &Path) -> Outcome<Vec<u8>> {
    let invalid = |message: String| Failure::new(Exit::Input, "invalid_source", message);
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|error| match not_quite_a_hash(&name) {
        Some(why) => invalid(why),
        None if error.kind() == std::io::ErrorKind::NotFound => {
            invalid(format!("{name} does not exist; {SOURCES}"))
        }
        None => invalid(format!("cannot read {name}: {error}; {SOURCES}")),
    })?;
    if file.metadata().is_ok_and(|found| found.is_dir()) {
        return Err(invalid(format!(
            "{name} is a directory; `bt create {name}` makes a .torrent file of it, `bt seed {name}` makes one and shares it"
        )));
    }
    read(file, &name)
}

/// Explains what is wrong with a text that may be meant as an info-hash.
fn not_quite_a_hash(text: &str) -> Option<String> {
    let is_long = text.len() >= 30 && text.len() <= 70;
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let why = "an info-hash has 40 hex digits; copy it again from where it came";
    (is_long && is_hex).then(|| format!("{text} has {} hex digits: {why}", text.len()))
}

fn read(from: impl std::io::Read, name: &str) -> Outcome<Vec<u8>> {
    let invalid = |message: String| Failure::new(Exit::Input, "invalid_source", message);
    let mut bytes = Vec::new();
    from.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| invalid(format!("cannot read {name}: {error}")))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(invalid(format!("{name} is over 64 MiB: that is no .torrent file")));
    }
    Ok(bytes)
}

/// Parses a torrent that came from `source`.
pub(crate) fn parse(source: &str, bytes: &[u8]) -> Outcome<Metainfo> {
    Metainfo::from_bytes(bytes).map_err(|error| {
        let advice = || match bytes.first() {
            Some(b'd') => format!("{error}; fetch it again, or ask who made it"),
            _ => {
                "it does not begin as one; to share a file, use `bt seed` or `bt create`".to_owned()
            }
        };
        let why = mistaken_for_a_torrent(bytes).map_or_else(advice, str::to_owned);
        Failure::new(Exit::Input, error.code(), format!("{source} is not a valid torrent: {why}"))
    })
}

/// Names what sites and editors hand out in place of a torrent.
fn mistaken_for_a_torrent(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(BYTE_ORDER_MARK);
    if bytes.starts_with(b"\x1f\x8b") {
        return Some("it is compressed with gzip; unpack it with `gunzip` first");
    }
    if bytes.is_empty() {
        return Some("it is empty; fetch it again");
    }
    if text.unwrap_or(bytes).trim_ascii_start().starts_with(b"<") {
        return Some(
            "it is a web page (HTML or XML); the site may want you to log in, or the link leads to a page about the torrent",
        );
    }
    text.map(|_| "it begins with a byte order mark: a text editor changed it; fetch it again")
}

/// Returns a source for printing: lossy where it is not UTF-8, and without a password.
pub(crate) fn shown(source: &OsStr) -> String {
    without_password(&source.to_string_lossy())
}

/// Removes the user name and password from a URL.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((_, host)) => {
            format!("{scheme}://{host}{}", rest.get(authority.len()..).unwrap_or_default())
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    #[test]
    fn what_a_source_is() {
        let place = |text: &str| match Place::of(OsStr::new(text)) {
            Place::Link(link) => {
                if link.is_ok() {
                    "link"
                } else {
                    "bad link"
                }
            }
            Place::Url(_) => "url",
            Place::Unspoken(_) => "unspoken",
            Place::StandardInput => "stdin",
            Place::File(_) => "file",
        };
        let link = format!("magnet:?xt=urn:btih:{HEX}");
        let table = [
            ("-", "stdin"),
            (HEX, "link"),
            (&link, "link"),
            (&link.to_uppercase(), "link"),
            (&format!("  {link}\n"), "link"),
            ("magnet:?dn=x", "bad link"),
            ("HTTP://a/b", "url"),
            ("https://a/b", "url"),
            ("ftp://a/b", "unspoken"),
            ("a.torrent", "file"),
            ("src", "file"),
        ];
        for (text, expected) in table {
            assert_eq!(place(text), expected, "{text}");
        }
    }

    #[test]
    fn links_in_a_text() {
        let text = format!("\u{feff}# mine\n\n magnet:?xt=urn:btih:{HEX}&amp;dn=a\r\n{HEX}\n");
        let names: Vec<_> =
            links(text.as_bytes()).unwrap().map(|link| link.unwrap().name).collect();
        assert_eq!(names, [Some("a".into()), None]);
        assert!(links(b"d4:infode").is_none() && links(b"").is_none() && links(b"\xff").is_none());
        assert!(links(format!("{HEX}\njunk").as_bytes()).unwrap().any(|link| link.is_err()));
    }

    #[test]
    fn what_is_no_torrent_is_named() {
        let table: [(&[u8], &str); 5] = [
            (b"\x1f\x8b\x08\0", "gunzip"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"\xef\xbb\xbf<html>", "web page"),
            (b"\xef\xbb\xbfd4:infodee", "byte order mark"),
            (b"", "empty"),
        ];
        for (bytes, word) in table {
            assert!(parse("x", bytes).unwrap_err().message.contains(word), "{word}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let table = [
            ("http://u:pw@host:1/x?y=a@b", "http://host:1/x?y=a@b"),
            ("http://u@ser:pw@host", "http://host"),
            ("http://host/a@b", "http://host/a@b"),
            ("a@b.torrent", "a@b.torrent"),
        ];
        for (url, shown) in table {
            assert_eq!(without_password(url), shown);
        }
    }
}
