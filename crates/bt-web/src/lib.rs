//! The page of a BitTorrent daemon: its files as they lie in `page/`, without a build step.
//!
//! Decides: which files there are, and their types.
//! Must not know: HTTP, the API.
//! Invariant: a path names one of these files or nothing: no file system is asked.
#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

/// A file of the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asset {
    /// Its path below the page's own; the page itself is `index.html`.
    pub path: &'static str,
    /// Its content type.
    pub kind: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal $kind:expr;)*) => {
        &[$(Asset {
            path: $path,
            kind: $kind,
            bytes: include_bytes!(concat!("../page/", $path)),
        }),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// All files of the page.
pub const ASSETS: &[Asset] = assets! {
    "index.html" HTML;
    "icon.svg" IMAGE;
    "style.css" STYLE;
    "app.js" SCRIPT;
    "api.js" SCRIPT;
    "details.js" SCRIPT;
    "dialogs.js" SCRIPT;
    "feeds.js" SCRIPT;
    "format.js" SCRIPT;
    "graph.js" SCRIPT;
    "metainfo.js" SCRIPT;
    "sidebar.js" SCRIPT;
    "table.js" SCRIPT;
    "torrents.js" SCRIPT;
    "vendor/htm-preact.js" SCRIPT;
    "vendor/LICENSES.txt" TEXT;
};

/// Returns the file with this path; the page itself for an empty one.
#[must_use]
pub fn asset(path: &str) -> Option<&'static Asset> {
    let path = if path.is_empty() { "index.html" } else { path };
    ASSETS.iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use sha2::{Digest as _, Sha256};
    use std::format;
    use std::io::Write as _;
    use std::string::String;
    use std::vec::Vec;

    /// Most bytes of the page, compressed.
    const GZIP_MAX: usize = 80 << 10;
    /// The SHA-256 of files that are not ours.
    const FOREIGN: &[(&str, &str)] = &[(
        "vendor/htm-preact.js",
        "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
    )];

    #[test]
    fn the_page_is_small() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        ASSETS.iter().for_each(|asset| gzip.write_all(asset.bytes).expect("memory"));
        let bytes = gzip.finish().expect("memory").len();
        assert!(bytes < GZIP_MAX, "{bytes} bytes");
    }

    #[test]
    fn foreign_files_are_unchanged() {
        for (path, expected) in FOREIGN {
            let digest = Sha256::digest(asset(path).expect("a file").bytes);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, *expected, "{path}");
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_no_text_becomes_html() {
        for asset in ASSETS.iter().filter(|asset| !asset.path.starts_with("vendor/")) {
            let text = std::str::from_utf8(asset.bytes).expect("text");
            for word in
                ["innerHTML", "dangerouslySetInnerHTML", "document.write", "eval(", "style=\""]
            {
                assert!(!text.contains(word), "{}: {word}", asset.path);
            }
            let urls = text.matches("https://").count() + text.matches("http://").count();
            let allowed = usize::from(asset.path == "icon.svg");
            assert!(urls <= allowed, "{}: a URL", asset.path);
        }
    }

    #[test]
    fn a_path_is_a_file_of_the_page_or_nothing() {
        assert_eq!(asset("").map(|asset| asset.path), Some("index.html"));
        for path in ["../Cargo.toml", "/etc/passwd", "vendor", "app.js/", "vendor\\htm-preact.js"] {
            assert_eq!(asset(path), None, "{path}");
        }
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
