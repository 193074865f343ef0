//! The listing of a small crate, and what a change of it does.
//!
//! Decides: the small crate. Must not know: how the listing finds what it lists.
//! Invariant: every kind of item is there once, beside one of the same kind that is not public.

use super::{Args, listing, run};
use std::fs;
use std::path::Path;

const LIB: &str = r#"
mod shape;
mod hidden;
pub mod deep;
#[cfg(test)]
mod tests;

#[cfg(not(feature = "more"))]
pub fn only_without_more() {}

pub use hidden::{hidden, BeforeRename as Known};
pub use shape::*;
pub use other_crate::Guest;

/// The most.
pub const MOST: usize = 1 << 20;
pub(crate) const SECRET: u8 = 1;
pub type Short<'a> = std::collections::BTreeMap<&'a str, u8>;

#[must_use]
pub fn long_enough_for_two_lines(mut first: Vec<Option<String>>, second: impl Fn(u8) -> bool, third: &mut [u8]) -> Result<(), Error>
where
    u8: Copy,
{
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("x")]
    Io(#[from] std::io::Error),
    Other { why: String, code: i32 },
    Nothing,
}
"#;

const SHAPE: &str = r#"
use crate::deep::Trait;

#[derive(Clone, Copy)]
pub struct Pair<T>(pub T, u8);

pub struct Shape {
    pub sides: u32,
    colour: u8,
}

struct Private;

impl Shape {
    pub const ROUND: Shape = Shape { sides: 0, colour: 0 };
    pub fn new(sides: u32) -> Self { Shape { sides, colour: 1 } }
    fn paint(&mut self) {}
    #[cfg(test)]
    pub fn for_tests() {}
}

impl Trait for Shape {
    type Of = u8;
    fn must(&self) {}
}

impl Iterator for Shape {
    type Item = u8;
    fn next(&mut self) -> Option<u8> { None }
}

impl<T> Trait for Vec<T> {
    type Of = T;
    fn must(&self) {}
}
"#;

const DEEP: &str = r#"
pub trait Trait: Send {
    const LEN: usize = 3;
    type Of: Copy;
    fn must(&self);
    fn may(self: Box<Self>) -> u8 { 1 }
}
"#;

const HIDDEN: &str = r#"
pub struct BeforeRename;
pub fn hidden() {}
pub fn unreachable() {}
impl BeforeRename {
    pub async fn wait(mut self) {}
}
"#;

const LISTED: &str = "\
#[non_exhaustive] pub enum small_crate::Error
impl Debug for Error
impl Display for Error
impl Error for Error
impl From<std::io::Error> for Error
small_crate::Error::Io(std::io::Error)
small_crate::Error::Nothing
small_crate::Error::Other { why: String, code: i32 }
pub use other_crate::Guest as small_crate::Guest
pub struct small_crate::Known
pub async fn small_crate::Known::wait(self)
pub const small_crate::MOST: usize
pub struct small_crate::Pair<T>(pub T, _)
impl Clone for Pair<T>
impl Copy for Pair<T>
pub struct small_crate::Shape { .. }
impl Iterator for Shape
impl Iterator for Shape: type Item = u8
impl Trait for Shape
impl Trait for Shape: type Of = u8
pub const small_crate::Shape::ROUND: Shape
pub fn small_crate::Shape::new(sides: u32) -> Self
pub small_crate::Shape::sides: u32
pub type small_crate::Short<'a> = std::collections::BTreeMap<&'a str, u8>
pub mod small_crate::deep
pub trait small_crate::deep::Trait: Send
impl<T> Trait for Vec<T>
impl<T> Trait for Vec<T>: type Of = T
const small_crate::deep::Trait::LEN: usize = ..
type small_crate::deep::Trait::Of: Copy
fn small_crate::deep::Trait::may(self: Box<Self>) -> u8 { .. }
fn small_crate::deep::Trait::must(&self)
pub fn small_crate::hidden()
#[must_use] pub fn small_crate::long_enough_for_two_lines(first: Vec<Option<String>>, second: impl Fn(u8) -> bool, third: &mut [u8]) -> Result<(), Error> where u8: Copy
";

fn write_fixture(root: &Path) {
    for (name, text) in [("lib", LIB), ("shape", SHAPE), ("deep/mod", DEEP), ("hidden", HIDDEN)] {
        let file = root.join(format!("crates/small-crate/src/{name}.rs"));
        fs::create_dir_all(file.parent().expect("a file lies in a folder")).expect("folder");
        fs::write(file, text).expect("file");
    }
}

#[test]
fn what_users_can_name_is_listed_in_order() {
    let dir = tempfile::tempdir().expect("temporary folder");
    write_fixture(dir.path());
    let lib = dir.path().join("crates/small-crate/src/lib.rs");
    assert_eq!(listing::of_crate("small-crate", &lib).expect("it can be read"), LISTED);
}

#[test]
fn the_layout_of_the_source_is_not_listed() {
    let dir = tempfile::tempdir().expect("temporary folder");
    write_fixture(dir.path());
    let lib = dir.path().join("crates/small-crate/src/lib.rs");
    let file = lib.with_file_name("shape.rs");
    let text = fs::read_to_string(&file).expect("file");
    let (first, second) = text.split_once("impl Shape").expect("it is there");
    fs::write(&file, format!("impl Shape{second}\n// moved\n{first}")).expect("file");
    assert_eq!(listing::of_crate("small-crate", &lib).expect("it can be read"), LISTED);
}

#[test]
fn a_difference_is_an_error_until_it_is_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    write_fixture(dir.path());
    let compare = || run(&Args { write: false }, dir.path());
    let write = || run(&Args { write: true }, dir.path()).expect("it can be written");
    let error = compare().expect_err("nothing is kept").to_string();
    assert!(error.contains("`cargo xtask api --write` accepts"), "{error}");
    write();
    compare().expect("what was written is equal");

    let deep = dir.path().join("crates/small-crate/src/deep/mod.rs");
    fs::write(&deep, DEEP.replace("fn must(&self)", "fn must(&mut self)")).expect("file");
    let error = compare().expect_err("a signature changed").to_string();
    assert!(error.starts_with("api: 2 lines differ"), "{error}");
    write();
    compare().expect("what was written is equal");

    fs::rename(dir.path().join("crates/small-crate"), dir.path().join("crates/other-crate"))
        .expect("it can be renamed");
    assert!(compare().is_err(), "a crate is gone");
    write();
    let kept: Vec<_> = fs::read_dir(dir.path().join("docs/api"))
        .expect("folder")
        .map(|file| file.expect("file").file_name())
        .collect();
    assert_eq!(kept, ["other-crate.txt"]);
}
