//! Resolves a path in a module to the items that it names.
//!
//! Decides: which declaration of the crate a name means there.
//! Must not know: what is listed.
//! Invariant: a path that leaves the crate is foreign, and stays as it is written.

use super::modules::{Modules, Names};
use syn::{Item, UseTree, Visibility};

/// Most re-exports that are followed for one name: they can form a circle.
const STEPS_MAX: usize = 32;

/// What a path leads to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Target {
    /// An item of this module and name.
    Item(Names, String),
    /// A module.
    Module(Names),
    /// Something of another crate, or a variant.
    Foreign(String),
}

/// A name that a `use` makes: its path, and the name that it has from then on, or everything.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) path: Names,
    pub(super) name: Option<String>,
}

/// The names that a `use` makes.
pub(super) fn leaves(tree: &UseTree) -> Vec<Leaf> {
    let mut found = Vec::new();
    gather(tree, &Vec::new(), &mut found);
    found
}

fn gather(tree: &UseTree, before: &Names, found: &mut Vec<Leaf>) {
    let after = |name: &syn::Ident| [before.as_slice(), &[name.to_string()]].concat();
    let mut leaf = |path: Names, name: Option<String>| match path.split_last() {
        // `a::{self}` is `a`.
        Some((last, rest)) if last == "self" && !rest.is_empty() => {
            let name = name.filter(|name| name != "self").or_else(|| rest.last().cloned());
            found.push(Leaf { path: rest.to_vec(), name });
        }
        _ => found.push(Leaf { path, name }),
    };
    match tree {
        UseTree::Path(part) => gather(&part.tree, &after(&part.ident), found),
        UseTree::Name(part) => leaf(after(&part.ident), Some(part.ident.to_string())),
        UseTree::Rename(part) => leaf(after(&part.ident), Some(part.rename.to_string())),
        UseTree::Glob(_) => leaf(before.clone(), None),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| gather(tree, before, found));
        }
    }
}

/// Everything that a path in a module leads to: a name can be a module and a function at once.
pub(super) fn targets(modules: &Modules, from: &Names, path: &[String]) -> Vec<Target> {
    let mut found = follow(modules, from, path, 0);
    found.sort();
    found.dedup();
    if found.is_empty() { vec![Target::Foreign(path.join("::"))] } else { found }
}

fn follow(modules: &Modules, from: &Names, path: &[String], steps: usize) -> Vec<Target> {
    if steps > STEPS_MAX {
        return Vec::new();
    }
    let Some((first, rest)) = path.split_first() else {
        return vec![Target::Module(from.clone())];
    };
    match first.as_str() {
        "crate" => return follow(modules, &Vec::new(), rest, steps + 1),
        "self" => return follow(modules, from, rest, steps + 1),
        "super" => {
            let parent = from.split_last().map_or(&[][..], |(_, parent)| parent).to_vec();
            return follow(modules, &parent, rest, steps + 1);
        }
        _ => {}
    }
    let here = bindings(modules, from, first, steps);
    if rest.is_empty() {
        return here;
    }
    here.into_iter()
        .flat_map(|target| match target {
            Target::Module(module) => follow(modules, &module, rest, steps + 1),
            Target::Item(..) => Vec::new(),
            Target::Foreign(path) => vec![Target::Foreign(format!("{path}::{}", rest.join("::")))],
        })
        .collect()
}

/// What a name means in a module: its own items, and what it uses.
fn bindings(modules: &Modules, module: &Names, name: &str, steps: usize) -> Vec<Target> {
    let mut found = Vec::new();
    for item in modules.get(module).into_iter().flatten() {
        match item {
            Item::Mod(child) if child.ident == name => {
                found.push(Target::Module([module.as_slice(), &[name.to_owned()]].concat()));
            }
            Item::Use(used) => {
                let named = leaves(&used.tree)
                    .into_iter()
                    .filter(|leaf| leaf.name.as_deref() == Some(name));
                for leaf in named {
                    // `use name::…` inside of itself is the crate of that name.
                    let is_itself = leaf.path.first().is_some_and(|first| first == name);
                    let known = match is_itself {
                        true => declared(modules, module, &leaf.path, steps),
                        false => follow(modules, module, &leaf.path, steps + 1),
                    };
                    match known.is_empty() {
                        true => found.push(Target::Foreign(leaf.path.join("::"))),
                        false => found.extend(known),
                    }
                }
            }
            item if declares(item).is_some_and(|(_, declared)| declared == name) => {
                found.push(Target::Item(module.clone(), name.to_owned()));
            }
            _ => {}
        }
    }
    found
}

/// What a path leads to whose first name is a child module of its own.
fn declared(modules: &Modules, module: &Names, path: &[String], steps: usize) -> Vec<Target> {
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    let child = [module.as_slice(), std::slice::from_ref(first)].concat();
    match modules.contains_key(&child) && !rest.is_empty() {
        true => follow(modules, &child, rest, steps + 1),
        false => Vec::new(),
    }
}

/// The visibility and the name of an item that is no module, no `use` and no `impl`.
pub(super) fn declares(item: &Item) -> Option<(&Visibility, String)> {
    let (visibility, name) = match item {
        Item::Const(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        Item::Static(item) => (&item.vis, &item.ident),
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        Item::Union(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    Some((visibility, name.to_string()))
}
