//! Counts over the syntax: what is public and documented, and what could end the process.
//!
//! May use `source`.

use syn::visit::{self, Visit};

use crate::source::{self, SourceFile};

/// What was counted outside tests.
#[derive(Default)]
pub(crate) struct Counts {
    /// Items, fields and methods that are `pub` without a limit.
    pub(crate) public: usize,
    /// Those of them with a doc comment.
    pub(crate) documented: usize,
    /// Calls of `unwrap()`.
    pub(crate) unwraps: usize,
    /// Calls of `expect("...")`.
    pub(crate) expects: usize,
    /// Unsafe blocks, functions and implementations.
    pub(crate) unsafes: usize,
}

impl Counts {
    /// Counts over `files`.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a SourceFile>) -> Self {
        let mut counts = Self::default();
        for file in files {
            counts.visit_file(&file.syntax);
        }
        counts
    }

    fn note(&mut self, visibility: &syn::Visibility, attributes: &[syn::Attribute]) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.public += 1;
            let documented = attributes
                .iter()
                .any(|attribute| attribute.path().is_ident("doc"));
            self.documented += usize::from(documented);
        }
    }
}

impl<'ast> Visit<'ast> for Counts {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = source::attributes(item);
        if source::is_test(attributes) {
            return;
        }
        match item {
            syn::Item::Const(item) => self.note(&item.vis, attributes),
            syn::Item::Enum(item) => self.note(&item.vis, attributes),
            syn::Item::Fn(item) => self.note(&item.vis, attributes),
            syn::Item::Static(item) => self.note(&item.vis, attributes),
            syn::Item::Struct(item) => self.note(&item.vis, attributes),
            syn::Item::Trait(item) => self.note(&item.vis, attributes),
            syn::Item::Type(item) => self.note(&item.vis, attributes),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if field.ident.is_some() {
            self.note(&field.vis, &field.attrs);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.vis, &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let text = matches!(
            call.args.first(),
            Some(syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(_),
                ..
            }))
        );
        self.unwraps += usize::from(call.method == "unwrap" && call.args.is_empty());
        self.expects += usize::from(call.method == "expect" && text);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafes += 1;
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.unsafes += usize::from(signature.unsafety.is_some());
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.unsafes += usize::from(item.unsafety.is_some());
        visit::visit_item_impl(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_ships() {
        let text = "/// A.\npub struct A { pub b: u8, c: u8 }\npub fn f() { x.unwrap(); y.expect(\"z\"); \
                    p.expect(token); }\n#[cfg(test)] mod tests { pub fn g() { x.unwrap() } }";
        let file = source::parse_text("mesh-api", "mesh-api/src/name.rs", text.to_owned()).unwrap();
        let counts = Counts::of(std::iter::once(&file));
        assert_eq!((counts.public, counts.documented), (3, 1));
        assert_eq!((counts.unwraps, counts.expects, counts.unsafes), (1, 1, 0));
    }
}
