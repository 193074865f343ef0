//! The listing of a crate: one line for each item that its users can name.
//!
//! Decides: which items are public, and the order of lines.
//! Must not know: how an item is written in one line.
//! Invariant: lines are sorted by the path of their item; a type is followed by its traits, then
//! by its members.
//!
//! An item of another crate is not described: its re-export is one line. Auto traits, blanket
//! implementations of other crates, and items that a macro makes are not listed.

use super::line;
use super::modules::{self, Modules, Names, attributes, is_left_out};
use super::names::{Target, declares, leaves, targets};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::{Fields, ImplItem, Item, ItemImpl, TraitItem, Type, Visibility};

/// Where a line stands: the path of its item, then its rank among the lines of that path.
type Lines = BTreeSet<(String, u8, String)>;

/// Where an item is declared: its module and its name.
type Declared = (Names, String);

/// An item as its users name it: the path, and the attributes of the re-export.
type Shown = (String, String);

const ITEM: u8 = 0;
const TRAIT: u8 = 1;

/// Lists the crate of this name and root file, one item a line.
pub(super) fn of_crate(name: &str, lib: &Path) -> Result<String> {
    let modules = modules::read(lib)?;
    let mut listing = Listing {
        modules: &modules,
        shown: BTreeMap::new(),
        visited: BTreeSet::new(),
        lines: Lines::new(),
    };
    listing.walk(&name.replace('-', "_"), &Vec::new());
    listing.items();
    listing.impls();
    Ok(listing.lines.into_iter().map(|(_, _, line)| line + "\n").collect())
}

struct Listing<'a> {
    modules: &'a Modules,
    /// The paths of the public items.
    shown: BTreeMap<Declared, BTreeSet<Shown>>,
    /// The modules that were walked, and under which path.
    visited: BTreeSet<(String, Names)>,
    lines: Lines,
}

impl Listing<'_> {
    fn push(&mut self, path: &str, rank: u8, line: String) {
        self.lines.insert((path.to_owned(), rank, line));
    }

    /// Finds the public items of a module, which users know by the path `shown`.
    fn walk(&mut self, shown: &str, module: &Names) {
        if !self.visited.insert((shown.to_owned(), module.clone())) {
            return;
        }
        for item in self.modules.get(module).into_iter().flatten() {
            match item {
                Item::Mod(child) if is_public(&child.vis) => {
                    let name = child.ident.to_string();
                    let path = format!("{shown}::{name}");
                    self.push(&path, ITEM, format!("{}pub mod {path}", line::marks(&child.attrs)));
                    self.walk(&path, &[module.as_slice(), &[name]].concat());
                }
                Item::Use(used) if is_public(&used.vis) => {
                    let marks = line::marks(&used.attrs);
                    for leaf in leaves(&used.tree) {
                        for target in targets(self.modules, module, &leaf.path) {
                            self.export(shown, &marks, leaf.name.as_deref(), target);
                        }
                    }
                }
                item => {
                    let public = declares(item).filter(|(visibility, _)| is_public(visibility));
                    if let Some((_, name)) = public {
                        self.show(format!("{shown}::{name}"), "", (module.clone(), name));
                    }
                }
            }
        }
    }

    /// Takes in what a `pub use` in the module `shown` leads to; no name means everything.
    fn export(&mut self, shown: &str, marks: &str, name: Option<&str>, target: Target) {
        let path = format!("{shown}::{}", name.unwrap_or("*"));
        match (target, name) {
            (Target::Module(module), None) => self.walk(shown, &module),
            (Target::Module(module), Some(_)) => {
                // A private module of the same name as an exported function stays private.
                if self.is_public_module(&module) {
                    self.push(&path, ITEM, format!("{marks}pub mod {path}"));
                    self.walk(&path, &module);
                }
            }
            (Target::Item(module, item), Some(_)) => self.show(path, marks, (module, item)),
            (Target::Item(_, item), None) => {
                self.push(&path, ITEM, format!("{marks}pub use {item}::* as {path}"));
            }
            (Target::Foreign(from), Some(_)) => {
                self.push(&path, ITEM, format!("{marks}pub use {from} as {path}"));
            }
            (Target::Foreign(from), None) => {
                self.push(&path, ITEM, format!("{marks}pub use {from}::* as {path}"));
            }
        }
    }

    fn is_public_module(&self, module: &Names) -> bool {
        let Some((name, parent)) = module.split_last() else { return true };
        self.modules.get(parent).into_iter().flatten().any(
            |item| matches!(item, Item::Mod(child) if child.ident == name && is_public(&child.vis)),
        )
    }

    fn show(&mut self, path: String, marks: &str, declared: Declared) {
        self.shown.entry(declared).or_default().insert((path, marks.to_owned()));
    }

    /// Writes the lines of the items that were found.
    fn items(&mut self) {
        for ((module, name), paths) in self.shown.clone() {
            let items = self.modules.get(&module).into_iter().flatten();
            let named =
                items.filter(|item| declares(item).is_some_and(|(_, declared)| declared == name));
            for item in named {
                for (path, marks) in &paths {
                    self.item(path, marks, item);
                }
            }
        }
    }

    fn item(&mut self, path: &str, marks: &str, item: &Item) {
        let head = format!("{marks}{}{}", line::marks(attributes(item)), line::item(item, path));
        self.push(path, ITEM, head);
        for (name, generics) in line::derived(item) {
            let own = path.rsplit("::").next().unwrap_or_default();
            self.push(path, TRAIT, format!("impl {name} for {own}{generics}"));
        }
        match item {
            Item::Struct(item) => {
                if let Fields::Named(fields) = &item.fields {
                    for field in fields.named.iter().filter(|field| is_public(&field.vis)) {
                        let name =
                            field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                        let path = format!("{path}::{name}");
                        let marks = line::marks(&field.attrs);
                        let line = format!("{marks}pub {path}: {}", line::ty(&field.ty));
                        self.push(&path, ITEM, line);
                    }
                }
            }
            Item::Enum(item) => {
                for variant in &item.variants {
                    let path = format!("{path}::{}", variant.ident);
                    self.push(&path, ITEM, line::variant(variant, &path));
                }
            }
            Item::Trait(item) => {
                for member in item.items.iter().filter(|member| !is_test_member(member)) {
                    if let Some((name, line)) = line::trait_member(member, path) {
                        self.push(&format!("{path}::{name}"), ITEM, line);
                    }
                }
            }
            _ => {}
        }
    }

    /// Writes the lines of the `impl` blocks of public types and traits.
    fn impls(&mut self) {
        for (module, items) in self.modules {
            for item in items {
                if let Item::Impl(block) = item {
                    self.block(module, block);
                }
            }
        }
    }

    fn block(&mut self, module: &Names, block: &ItemImpl) {
        let marks = line::marks(&block.attrs);
        let of_type = self.shown_as(module, &self_path(&block.self_ty));
        let Some((of_trait, _)) = &block.trait_ else {
            for (path, _) in &of_type {
                for member in &block.items {
                    self.member(path, &marks, member);
                }
            }
            return;
        };
        let trait_path = segments(of_trait);
        let is_hidden =
            self.is_ours(module, &trait_path) && self.shown_as(module, &trait_path).is_empty();
        if is_hidden {
            return;
        }
        let head = format!("{marks}{}", line::implementation(block));
        let mut paths = of_type;
        if !self.is_ours(module, &self_path(&block.self_ty)) {
            // A trait of ours for a type of another crate stands beside the trait.
            paths.extend(self.shown_as(module, &trait_path));
        }
        for (path, _) in &paths {
            self.push(path, TRAIT, head.clone());
            for member in &block.items {
                if let ImplItem::Type(member) = member {
                    let ty = line::ty(&member.ty);
                    self.push(path, TRAIT, format!("{head}: type {} = {ty}", member.ident));
                }
            }
        }
    }

    fn member(&mut self, path: &str, marks: &str, member: &ImplItem) {
        let (visibility, attributes, name) = match member {
            ImplItem::Fn(member) => (&member.vis, &member.attrs, &member.sig.ident),
            ImplItem::Const(member) => (&member.vis, &member.attrs, &member.ident),
            _ => return,
        };
        if !is_public(visibility) || is_left_out(attributes) {
            return;
        }
        let path = format!("{path}::{name}");
        let line = match member {
            ImplItem::Fn(member) => format!("pub {}", line::function(&member.sig, &path)),
            ImplItem::Const(member) => format!("pub const {path}: {}", line::ty(&member.ty)),
            _ => return,
        };
        self.push(&path, ITEM, format!("{marks}{}{line}", line::marks(attributes)));
    }

    /// The public paths of the item that a path in a module leads to.
    fn shown_as(&self, module: &Names, path: &[String]) -> BTreeSet<Shown> {
        let own = |target: Target| match target {
            Target::Item(module, name) => self.shown.get(&(module, name)).cloned(),
            Target::Module(_) | Target::Foreign(_) => None,
        };
        targets(self.modules, module, path).into_iter().filter_map(own).flatten().collect()
    }

    fn is_ours(&self, module: &Names, path: &[String]) -> bool {
        let is_item = |target: &Target| matches!(target, Target::Item(..));
        targets(self.modules, module, path).iter().any(is_item)
    }
}

/// The path of the type that an `impl` is for, behind references.
fn self_path(ty: &Type) -> Names {
    match ty {
        Type::Path(path) => segments(&path.path),
        Type::Reference(reference) => self_path(&reference.elem),
        Type::Paren(inner) => self_path(&inner.elem),
        _ => Vec::new(),
    }
}

fn segments(path: &syn::Path) -> Names {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_test_member(member: &TraitItem) -> bool {
    match member {
        TraitItem::Fn(member) => is_left_out(&member.attrs),
        TraitItem::Const(member) => is_left_out(&member.attrs),
        TraitItem::Type(member) => is_left_out(&member.attrs),
        _ => false,
    }
}
