//! Which module uses which: only those above it in `order`, so no cycle can arise.
//!
//! Reads paths that start at `crate` or climb by `super`, in code and inside macros; tests are free.
//! May use `order`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::{Finding, order};
use crate::source::{self, SourceFile};

/// One use of a module of the same crate.
pub(crate) struct Use {
    /// The first name after the crate's root.
    pub(crate) name: String,
    /// The line of the use.
    pub(crate) line: usize,
}

/// Refuses modules without a place, uses of what stands below, and `mod.rs`.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    files
        .iter()
        .filter(|file| !file.test)
        .flat_map(check_file)
        .collect()
}

/// The modules of a crate that lie on a cycle.
pub(crate) fn cyclic(files: &[SourceFile], package: &str) -> BTreeSet<String> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files
        .iter()
        .filter(|file| file.package == package && !file.test)
    {
        if let Some(top) = file.top() {
            let names = uses(file).into_iter().map(|used| used.name);
            edges.entry(top.to_owned()).or_default().extend(names);
        }
    }
    let modules = edges.keys().cloned();
    modules.filter(|module| reaches(&edges, module)).collect()
}

/// The other modules of its crate that a file uses outside tests.
pub(crate) fn uses(file: &SourceFile) -> Vec<Use> {
    let mut reader = Reader {
        base: file.module.clone(),
        found: Vec::new(),
    };
    reader.visit_file(&file.syntax);
    reader
        .found
        .retain(|used| Some(used.name.as_str()) != file.top());
    reader.found
}

fn check_file(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.path.ends_with("/mod.rs") {
        findings.push(Finding::at(
            &file.path,
            0,
            "a module is `name.rs`, never `mod.rs`",
        ));
    }
    let Some(top) = file.top() else {
        return findings;
    };
    let order = order::of(&file.package);
    let Some(place) = order.iter().position(|name| *name == top) else {
        let message = format!("module `{top}` has no place in xtask/src/tidy/order.rs");
        findings.push(Finding::at(&file.path, 0, message));
        return findings;
    };
    for used in uses(file) {
        let message = match order.iter().position(|name| *name == used.name) {
            Some(other) if other < place => continue,
            Some(_) => format!("`{top}` uses `{}`, which stands below it", used.name),
            None => format!("`{top}` uses `{}` of the crate's root", used.name),
        };
        findings.push(Finding::at(&file.path, used.line, message));
    }
    findings
}

fn reaches(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&String> = edges.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if module == from {
            return true;
        }
        if seen.insert(module) {
            open.extend(edges.get(module).into_iter().flatten());
        }
    }
    false
}

struct Reader {
    base: Vec<String>,
    found: Vec<Use>,
}

impl Reader {
    /// Notes a path if it starts at the crate's root or climbs there.
    fn note(&mut self, names: &[String], line: usize) {
        let Some(first) = names.first() else {
            return;
        };
        let climbs = names.iter().take_while(|name| *name == "super").count();
        let target = if first == "crate" {
            names.get(1)
        } else if climbs > 0 && climbs <= self.base.len() {
            let above = self.base.len() - climbs;
            if above == 0 {
                names.get(climbs)
            } else {
                self.base.first()
            }
        } else {
            None
        };
        if let Some(name) = target.cloned() {
            self.found.push(Use { name, line });
        }
    }

    fn note_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let mut names = prefix.to_vec();
        match tree {
            syn::UseTree::Path(path) => {
                names.push(path.ident.to_string());
                self.note_use(&path.tree, &names);
            }
            syn::UseTree::Name(name) => {
                names.push(name.ident.to_string());
                self.note(&names, name.ident.span().start().line);
            }
            syn::UseTree::Rename(rename) => {
                names.push(rename.ident.to_string());
                self.note(&names, rename.ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => self.note(&names, glob.star_token.span.start().line),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(tree, prefix);
                }
            }
        }
    }

    /// Macros are not parsed: looks for `crate :: name` and `super :: name` among their tokens.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    let name = ident.to_string();
                    if name == "crate"
                        || (name == "super" && path.last().is_none_or(|l| l != "super"))
                    {
                        path.clear();
                    }
                    line = ident.span().start().line;
                    path.push(name);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {}
                TokenTree::Group(group) => {
                    self.note(&std::mem::take(&mut path), line);
                    self.note_tokens(group.stream());
                }
                _ => self.note(&std::mem::take(&mut path), line),
            }
        }
        self.note(&path, line);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !source::is_test(source::attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.base.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.base.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let line = path
            .segments
            .first()
            .map_or(0, |s| s.ident.span().start().line);
        self.note(&names, line);
        visit::visit_path(self, path);
    }

    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.note_tokens(call.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = source::parse_text("mesh-api", path, text.to_owned()).unwrap();
        check(&[file]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_module_uses_only_those_above_it() {
        let refused = [
            ("use crate::decide::Step;", "uses `decide`"),
            ("use crate::{error, decide::{Step}};", "uses `decide`"),
            ("use super::decide;", "uses `decide`"),
            ("fn f() { crate::decide::request() }", "uses `decide`"),
            (
                "fn f() { println!(\"{}\", crate::decide::N) }",
                "uses `decide`",
            ),
            (
                "mod inner { use super::super::decide::Step; }",
                "uses `decide`",
            ),
            ("use crate::run;", "of the crate's root"),
        ];
        for (text, expected) in refused {
            let findings = found("mesh-api/src/model.rs", text);
            assert!(
                findings.iter().any(|f| f.contains(expected)),
                "{text}: {findings:?}"
            );
        }
        let passed = [
            "use crate::error::Invalid;",
            "use crate::model::route;",
            "mod inner { use super::Rule; }",
            "#[cfg(test)] mod tests { use crate::decide::Step; }",
            "pub(in crate::decide) fn f() {}",
        ];
        for text in passed {
            assert_eq!(
                found("mesh-api/src/model.rs", text),
                Vec::<String>::new(),
                "{text}"
            );
        }
        assert!(
            found("mesh-api/src/utils.rs", "")
                .iter()
                .any(|f| f.contains("no place"))
        );
    }

    #[test]
    fn a_cycle_is_seen_whatever_the_order_says() {
        let parse =
            |path: &str, text: &str| source::parse_text("mesh-api", path, text.to_owned()).unwrap();
        let files = [
            parse("mesh-api/src/name.rs", "use crate::model::A;"),
            parse("mesh-api/src/model/a.rs", "use crate::name::B;"),
            parse("mesh-api/src/error.rs", "use crate::name::B;"),
        ];
        let expected = ["model", "name"].map(str::to_owned);
        assert_eq!(cyclic(&files, "mesh-api"), BTreeSet::from(expected));
    }
}
