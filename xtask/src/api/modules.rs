//! The modules of a crate as its files declare them.
//!
//! Decides: which file holds a module, and what is left out: tests, and what a feature replaces.
//! Must not know: what is public.
//! Invariant: every file that the crate's root leads to is read once.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use syn::{Attribute, Item, ItemMod, Meta};

/// A path of names, from the crate's root on.
pub(super) type Names = Vec<String>;

/// The items of each module; the root is the empty path.
pub(super) type Modules = BTreeMap<Names, Vec<Item>>;

/// Reads the crate whose root is this file.
pub(super) fn read(lib: &Path) -> Result<Modules> {
    let mut modules = Modules::new();
    let folder = lib.parent().context("a file lies in a folder")?;
    read_file(lib, folder, Vec::new(), &mut modules)?;
    Ok(modules)
}

/// Reads the module of a file, whose child modules are in `folder`.
fn read_file(file: &Path, folder: &Path, path: Names, modules: &mut Modules) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let items = syn::parse_file(&text).with_context(|| file.display().to_string())?.items;
    add(items, folder, path, modules)
}

fn add(items: Vec<Item>, folder: &Path, path: Names, modules: &mut Modules) -> Result<()> {
    let mut kept = Vec::new();
    for item in items {
        if is_left_out(attributes(&item)) {
            continue;
        }
        if let Item::Mod(module) = &item {
            read_child(module, folder, &path, modules)?;
        }
        kept.push(item);
    }
    modules.insert(path, kept);
    Ok(())
}

fn read_child(module: &ItemMod, folder: &Path, path: &Names, modules: &mut Modules) -> Result<()> {
    let has_own_path = module.attrs.iter().any(|attribute| attribute.path().is_ident("path"));
    ensure!(!has_own_path, "mod {}: #[path] is not followed", module.ident);
    let name = module.ident.to_string();
    let child = [path.as_slice(), std::slice::from_ref(&name)].concat();
    let inner = folder.join(&name);
    if let Some((_, items)) = &module.content {
        return add(items.clone(), &inner, child, modules);
    }
    let beside = folder.join(format!("{name}.rs"));
    let file = if beside.exists() { beside } else { inner.join("mod.rs") };
    read_file(&file, &inner, child, modules)
}

/// Whether an item exists only when tests, or the examples of texts, are compiled, or only without
/// a feature: all features are listed.
pub(super) fn is_left_out(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
            match condition.starts_with("not") {
                true => words.any(|word| word == "feature"),
                false => words.any(|word| word == "test" || word == "doctest"),
            }
        }
        _ => false,
    })
}

/// The attributes of an item.
pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
