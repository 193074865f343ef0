//! The program that is packed: for which target, and what it needs of the machine.
//!
//! Decides: the target. Must not know: what is made of the program.
//! Invariant: what is said of the program was read from the program.

use super::said;
use anyhow::{Context as _, Result, bail};
use bt_tests::build_release;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// How a symbol's version of the C library begins.
const GLIBC: &[u8] = b"GLIBC_2.";
/// The name of the library that unwinds.
const UNWINDER: &[u8] = b"libgcc_s.so.1\0";

/// A program.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) target: String,
    /// The minor version of the oldest glibc that has all its symbols; `None` if it is static.
    glibc: Option<u32>,
    /// It loads the library that unwinds.
    unwinder: bool,
}

impl Program {
    /// Builds it: static with musl, where that target and its C compiler are installed.
    pub(super) fn build(gnu: bool) -> Result<Program> {
        let musl = format!("{}-unknown-linux-musl", env::consts::ARCH);
        let package = ["--package", "bt-cli"];
        let path = if !gnu && can_build(&musl)? {
            build_release(&[&package[..], &["--target", &musl]].concat())?
        } else {
            build_release(&package)?
        };
        Program::read(&path)
    }

    /// Takes a program that is there.
    pub(super) fn read(path: &Path) -> Result<Program> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        if !bytes.starts_with(b"\x7fELF") {
            bail!("{} is no program for Linux", path.display());
        }
        let glibc = newest_glibc(&bytes);
        let library = if glibc.is_some() { "gnu" } else { "musl" };
        Ok(Program {
            path: path.to_path_buf(),
            target: format!("{}-unknown-linux-{library}", env::consts::ARCH),
            glibc,
            unwinder: bytes.windows(UNWINDER.len()).any(|name| name == UNWINDER),
        })
    }

    /// Says what it needs.
    pub(super) fn describe(&self) -> String {
        match self.glibc {
            Some(minor) => format!("needs glibc 2.{minor} or later"),
            None => "static, needs no library".into(),
        }
    }

    /// Returns the Debian packages that it needs.
    pub(super) fn depends(&self) -> Vec<String> {
        let libc = self.glibc.map(|minor| format!("libc6 (>= 2.{minor})"));
        let unwinder = self.unwinder.then(|| "libgcc-s1 (>= 4.2)".to_owned());
        libc.into_iter().chain(unwinder).collect()
    }

    /// Returns the name of its architecture in Debian.
    pub(super) fn architecture(&self) -> &'static str {
        match env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        }
    }
}

/// Returns whether a target and its C compiler, which ring needs, are installed.
fn can_build(target: &str) -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = said(Command::new(rustc).args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib");
    let compiler = Command::new("musl-gcc").arg("--version").output();
    Ok(library.is_dir() && compiler.is_ok_and(|output| output.status.success()))
}

/// Returns the newest minor version of glibc among the symbols that a program names.
fn newest_glibc(bytes: &[u8]) -> Option<u32> {
    let begins = bytes.windows(GLIBC.len()).enumerate().filter(|(_, text)| *text == GLIBC);
    let minors = begins.filter_map(|(at, _)| {
        let rest = bytes.get(at + GLIBC.len()..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    });
    minors.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_says_which_c_library_is_needed() {
        assert_eq!(newest_glibc(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.2.5\0"), Some(34));
        assert_eq!(newest_glibc(b"\0GLIBC_PRIVATE\0"), None);
    }
}
