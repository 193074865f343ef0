//! An item as one line of text.
//!
//! Decides: how a declaration looks without its body.
//! Must not know: which items are listed.
//! Invariant: equal declarations give equal lines, however their source is laid out.

use syn::punctuated::Punctuated;
use syn::{
    Attribute, Field, Fields, File, FnArg, Generics, Item, ItemFn, ItemImpl, Meta, Pat, Path,
    ReceiverKind, Signature, Token, TraitItem, Type, Variant, Visibility, parse_quote,
};

/// Stands for the name of an item while it is printed, as a path cannot.
const NAME: &str = "NAME_OF_THIS_ITEM";

/// Attributes that bind the users of an item.
const MARKS: &[&str] = &["cfg", "deprecated", "must_use", "non_exhaustive", "repr"];

/// Writes the attributes of an item that bind its users, each with a space behind it.
pub(super) fn marks(attributes: &[Attribute]) -> String {
    let mark = |attribute: &Attribute| {
        let name = attribute.path().get_ident()?.to_string();
        let arguments = match &attribute.meta {
            Meta::List(list) => compact(&list.tokens.to_string()),
            _ => String::new(),
        };
        match name.as_str() {
            "doc" if arguments == "hidden" => Some("#[doc(hidden)] ".to_owned()),
            "cfg" | "repr" => Some(format!("#[{name}({arguments})] ")),
            _ if MARKS.contains(&name.as_str()) => Some(format!("#[{name}] ")),
            _ => None,
        }
    };
    attributes.iter().filter_map(mark).collect()
}

/// Writes the head of an item that is known as `path`.
pub(super) fn item(item: &Item, path: &str) -> String {
    let mut head = item.clone();
    let mut end = "";
    match &mut head {
        Item::Const(item) => return format!("pub const {path}: {}", ty(&item.ty)),
        Item::Static(item) => return format!("pub static {path}: {}", ty(&item.ty)),
        Item::Fn(item) => return format!("pub {}", function(&item.sig, path)),
        Item::Enum(item) => {
            (item.attrs, item.ident) = (Vec::new(), placeholder());
            item.variants.clear();
        }
        Item::Trait(item) => {
            (item.attrs, item.ident) = (Vec::new(), placeholder());
            item.items.clear();
        }
        Item::Struct(item) => {
            (item.attrs, item.ident) = (Vec::new(), placeholder());
            match &mut item.fields {
                Fields::Named(fields) => {
                    let mut named = fields.named.iter();
                    if !named.all(|field| matches!(field.vis, Visibility::Public(_))) {
                        end = " { .. }";
                    }
                    fields.named.clear();
                }
                Fields::Unnamed(fields) => {
                    for field in &mut fields.unnamed {
                        field.attrs.clear();
                        if !matches!(field.vis, Visibility::Public(_)) {
                            (field.vis, field.ty) = (Visibility::Inherited, parse_quote!(_));
                        }
                    }
                }
                Fields::Unit => {}
            }
        }
        Item::Type(item) => (item.attrs, item.ident) = (Vec::new(), placeholder()),
        Item::Union(item) => {
            (item.attrs, item.ident) = (Vec::new(), placeholder());
            item.fields.named.clear();
        }
        _ => {}
    }
    without_body(&printed(head)).replacen(NAME, path, 1) + end
}

/// Writes the signature of a function that is known as `path`. A `mut` of an argument is left
/// out: callers do not see it.
pub(super) fn function(signature: &Signature, path: &str) -> String {
    let mut sig = signature.clone();
    sig.ident = placeholder();
    for input in &mut sig.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                receiver.attrs.clear();
                if !matches!(receiver.kind, ReceiverKind::Reference(..)) {
                    receiver.mutability = None;
                }
            }
            FnArg::Typed(typed) => {
                typed.attrs.clear();
                if let Pat::Ident(pattern) = typed.pat.as_mut() {
                    pattern.mutability = None;
                }
            }
        }
    }
    let function: ItemFn = ItemFn {
        attrs: Vec::new(),
        vis: Visibility::Inherited,
        modifiers: Default::default(),
        sig,
        block: parse_quote!({}),
    };
    without_body(&printed(Item::Fn(function))).replacen(NAME, path, 1)
}

/// Writes a variant with its fields.
pub(super) fn variant(variant: &Variant, path: &str) -> String {
    let mut own = variant.clone();
    (own.attrs, own.ident) = (Vec::new(), placeholder());
    own.fields.iter_mut().for_each(|field| field.attrs.clear());
    let printed = printed(parse_quote!(enum E { #own }));
    let inner = printed.trim_start_matches("enum E {").trim_end_matches('}').trim();
    let line = inner.trim_end_matches(',').replacen(NAME, path, 1);
    marks(&variant.attrs) + &line
}

/// Writes a member of a trait that is known as `path`: its name, and the line.
pub(super) fn trait_member(member: &TraitItem, path: &str) -> Option<(String, String)> {
    let (attributes, name, line) = match member {
        TraitItem::Fn(member) => {
            let name = member.sig.ident.to_string();
            let given = if member.default.is_some() { " { .. }" } else { "" };
            (&member.attrs, name.clone(), function(&member.sig, &format!("{path}::{name}")) + given)
        }
        TraitItem::Const(member) => {
            let name = member.ident.to_string();
            let given = if member.default.is_some() { " = .." } else { "" };
            let line = format!("const {path}::{name}: {}{given}", ty(&member.ty));
            (&member.attrs, name, line)
        }
        TraitItem::Type(member) => {
            let (name, bounds) = (member.ident.to_string(), &member.bounds);
            let bounds = match bounds.is_empty() {
                true => String::new(),
                false => ty(&parse_quote!(impl #bounds)).replacen("impl ", ": ", 1),
            };
            (&member.attrs, name.clone(), format!("type {path}::{name}{bounds}"))
        }
        _ => return None,
    };
    Some((name, marks(attributes) + &line))
}

/// Writes the head of an `impl` of a trait; the trait is called by its last name.
pub(super) fn implementation(block: &ItemImpl) -> String {
    let mut head = block.clone();
    head.attrs.clear();
    head.items.clear();
    if let Some((path, _)) = &mut head.trait_ {
        *path = last_name(path);
    }
    without_body(&printed(Item::Impl(head)))
}

/// The traits that an item derives, and the names of its parameters.
pub(super) fn derived(item: &Item) -> Vec<(String, String)> {
    let (attributes, generics) = match item {
        Item::Struct(item) => (&item.attrs, &item.generics),
        Item::Enum(item) => (&item.attrs, &item.generics),
        Item::Union(item) => (&item.attrs, &item.generics),
        _ => return Vec::new(),
    };
    let parameters = parameters(generics);
    let derives = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let names = derives.filter_map(|attribute| {
        let parse = Punctuated::<Path, Token![,]>::parse_terminated;
        attribute.parse_args_with(parse).ok()
    });
    let last = |path: Path| path.segments.last().map(|segment| segment.ident.to_string());
    let mut found: Vec<String> = names.flatten().filter_map(last).collect();
    if found.iter().any(|name| name == "Error") {
        found.push("Display".to_owned());
        found.extend(sources(item).map(|source| format!("From<{}>", ty(source))));
    }
    found.into_iter().map(|name| (name, parameters.clone())).collect()
}

/// The types that thiserror makes an error of.
fn sources(item: &Item) -> impl Iterator<Item = &Type> {
    let fields: Vec<&Fields> = match item {
        Item::Struct(item) => vec![&item.fields],
        Item::Enum(item) => item.variants.iter().map(|variant| &variant.fields).collect(),
        _ => Vec::new(),
    };
    let is_source =
        |field: &&Field| field.attrs.iter().any(|attribute| attribute.path().is_ident("from"));
    fields.into_iter().flatten().filter(is_source).map(|field| &field.ty)
}

/// Writes a type.
pub(super) fn ty(ty: &Type) -> String {
    let line = printed(parse_quote!(type T = #ty;));
    line.trim_start_matches("type T =").trim_end_matches(';').trim().to_owned()
}

fn parameters(generics: &Generics) -> String {
    let (_, parameters, _) = generics.split_for_impl();
    match generics.params.is_empty() {
        true => String::new(),
        false => ty(&parse_quote!(T #parameters)).trim_start_matches('T').to_owned(),
    }
}

fn last_name(path: &Path) -> Path {
    let last = path.segments.last().cloned();
    Path { leading_colon: None, segments: last.into_iter().collect() }
}

fn placeholder() -> syn::Ident {
    parse_quote!(NAME_OF_THIS_ITEM)
}

/// Drops what stands for a body: braces, or a semicolon.
fn without_body(line: &str) -> String {
    line.trim_end_matches("{}").trim_end_matches(';').trim_end().trim_end_matches(',').to_owned()
}

/// Prints an item, as one line.
fn printed(item: Item) -> String {
    let file = File { shebang: None, frontmatter: None, attrs: Vec::new(), items: vec![item] };
    let text = prettyplease::unparse(&file);
    let joined = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    joined
        .replace("( ", "(")
        .replace(", )", ")")
        .replace(" )", ")")
        .replace(", }", " }")
        .replace(", >", ">")
        .replace("< ", "<")
        .trim()
        .to_owned()
}

/// Drops the spaces that tokens have around punctuation.
fn compact(tokens: &str) -> String {
    tokens.replace(" (", "(").replace("( ", "(").replace(" )", ")").replace(" ,", ",")
}
