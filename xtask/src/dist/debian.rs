//! The Debian package.
//!
//! Decides: where files go on a Debian machine, and what is said of the package. Must not know: how
//! the program was built.
//! Invariant: what an administrator may change is a conffile.

use super::tree::{PROGRAM, TEXT, Tree, gzip};
use super::{Made, VERSION, licences, pages, said};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who answers for the package.
const MAINTAINER: &str = "The bt developers <bt@example.invalid>";
/// Where files of the package's sources are in the workspace.
const SOURCES: &str = "docs/deploy/debian";
/// What runs before and after.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// Columns of the history.
const COLUMNS: usize = 78;
/// What an administrator may change.
const CONFFILE: &str = "etc/bt/config.toml";

/// Makes the package and returns its path; none where no tool makes packages.
pub(super) fn make(made: &Made<'_>) -> Result<Option<PathBuf>> {
    if said(Command::new("dpkg-deb").arg("--version")).is_err() {
        return Ok(None);
    }
    let workshop = made.workshop()?;
    let mut tree = Tree::new(workshop.path().join("package"))?;
    install(made, workshop.path(), &mut tree)?;
    control(made, &mut tree)?;
    let name = format!("bt_{VERSION}_{}.deb", made.program.architecture());
    let path = made.dir.join(name);
    tree.date(made.epoch)?;
    // dpkg-deb sorts the entries; the variable is the time of the package's own parts.
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", made.epoch.to_string());
    build.args(["--root-owner-group", "-Zgzip", "-z9", "--build"]).arg(tree.root()).arg(&path);
    said(&mut build)?;
    Ok(Some(path))
}

/// Puts everything where it is installed.
fn install(made: &Made<'_>, workshop: &Path, tree: &mut Tree) -> Result<()> {
    let deploy = made.root.join("docs/deploy");
    tree.copy("usr/bin/bt", PROGRAM, &made.program.path)?;
    tree.copy("lib/systemd/system/bt.service", TEXT, &deploy.join("bt.service"))?;
    tree.copy(CONFFILE, TEXT, &deploy.join("config.toml"))?;
    for (name, page) in pages::man(&made.program.path, workshop)? {
        tree.add(&format!("usr/share/man/man1/{name}.gz"), TEXT, &gzip(&page)?)?;
    }
    for (shell, name, script) in pages::completions(&made.program.path)? {
        let path = match shell {
            "bash" => "usr/share/bash-completion/completions/bt".into(),
            "zsh" => format!("usr/share/zsh/vendor-completions/{name}"),
            _ => format!("usr/share/fish/vendor_completions.d/{name}"),
        };
        tree.add(&path, TEXT, &script)?;
    }
    let overrides = made.root.join(SOURCES).join("lintian-overrides");
    tree.copy("usr/share/lintian/overrides/bt", TEXT, &overrides)?;
    tree.add("usr/share/doc/bt/copyright", TEXT, copyright(made.root)?.as_bytes())?;
    tree.add("usr/share/doc/bt/changelog.gz", TEXT, &gzip(changelog(made)?.as_bytes())?)
}

/// Adds what dpkg reads.
fn control(made: &Made<'_>, tree: &mut Tree) -> Result<()> {
    let mut sums = Command::new("md5sum");
    let files = tree.files();
    let files: Vec<&str> = files.into_iter().filter(|path| *path != CONFFILE).collect();
    sums.current_dir(tree.root()).args(files);
    let sums = said(&mut sums)?;
    let fields = fields(made, tree.size()?.div_ceil(1024));
    tree.add("DEBIAN/control", TEXT, fields.as_bytes())?;
    tree.add("DEBIAN/conffiles", TEXT, format!("/{CONFFILE}\n").as_bytes())?;
    tree.add("DEBIAN/md5sums", TEXT, sums.as_bytes())?;
    for script in SCRIPTS {
        let from = made.root.join(SOURCES).join(script);
        tree.copy(&format!("DEBIAN/{script}"), PROGRAM, &from)?;
    }
    Ok(())
}

/// Describes the package; its size is in KiB.
fn fields(made: &Made<'_>, size: u64) -> String {
    let depends = made.program.depends();
    let depends = match depends.as_slice() {
        [] => String::new(),
        some => format!("Depends: {}\n", some.join(", ")),
    };
    format!(
        "Package: bt\nVersion: {VERSION}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {size}\n{depends}Section: net\nPriority: optional\n\
         Description: BitTorrent client, daemon and tracker\n \
         Makes, downloads and shares torrents from the command line, and tracks them.\n .\n \
         Its daemon keeps torrents over restarts, serves a page, and is driven by\n \
         programs that drive Transmission or qBittorrent.\n",
        made.program.architecture()
    )
}

/// Writes the history as Debian reads it.
fn changelog(made: &Made<'_>) -> Result<String> {
    let text = fs::read_to_string(made.root.join("CHANGELOG.md")).context("CHANGELOG.md")?;
    let begins = format!("## {VERSION}");
    let ours = text.lines().skip_while(|line| !line.starts_with(&begins)).skip(1);
    let ours = ours.take_while(|line| !line.starts_with("## "));
    let mut changes = format!("bt ({VERSION}) unstable; urgency=medium\n\n");
    let mut column = 0;
    for word in ours.flat_map(str::split_whitespace) {
        let begin = match word {
            // An item of the list; the first one follows the head at once.
            "-" if column == 0 => "  *",
            "-" => "\n  *",
            _ if column + word.len() >= COLUMNS => "\n    ",
            _ => " ",
        };
        let word = if word == "-" { "" } else { word };
        column = if begin == " " { column } else { begin.len() } + word.len() + 1;
        write!(changes, "{begin}{word}")?;
    }
    changes.push('\n');
    let mut date = Command::new("date");
    date.env("LC_ALL", "C")
        .args(["--utc", "--rfc-email", "--date"])
        .arg(format!("@{}", made.epoch));
    write!(changes, "\n -- {MAINTAINER}  {}", said(&mut date)?)?;
    Ok(changes)
}

/// Writes whose work the package is.
fn copyright(root: &Path) -> Result<String> {
    let mit = fs::read_to_string(root.join("LICENSE-MIT")).context("LICENSE-MIT")?;
    Ok(format!(
        "bt is yours under the MIT License or the Apache License 2.0, as you like.\n\n\
         The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0.\n\n{mit}\n\
         The program holds these crates of others, under these licences:\n\n{}",
        licences::of_crates(root)?
    ))
}
