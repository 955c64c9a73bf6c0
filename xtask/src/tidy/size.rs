//! Sizes: a file is read in one sitting, a function fits on a screen.
//!
//! Tests and generated code are free. May use `source`.

use syn::visit::{self, Visit};

use super::Finding;
use crate::source::{self, SourceFile};

/// Lines of a file from which it is worth splitting.
pub(crate) const FILE_SOFT: usize = 500;
/// Lines of a file that are refused.
pub(crate) const FILE_HARD: usize = 800;
/// Lines of a function that are refused.
pub(crate) const FUNCTION_HARD: usize = 80;

/// Files that may be longer, each with its reason.
const EXCEPTED: &[(&str, &str)] = &[];

/// A function and its length.
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line it starts on.
    pub(crate) line: usize,
    /// Its lines, from `fn` to the closing brace.
    pub(crate) lines: usize,
}

/// Refuses files and functions beyond the hard limits, warns of files beyond the soft one.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.ships()) {
        let lines = file.lines().count();
        let excepted = EXCEPTED.iter().any(|(path, _)| *path == file.path);
        if lines > FILE_HARD && !excepted {
            let message = format!("{lines} lines without tests, at most {FILE_HARD}");
            findings.push(Finding::at(&file.path, 0, message));
        } else if lines > FILE_SOFT && !excepted {
            let message = format!("{lines} lines without tests, better under {FILE_SOFT}");
            findings.push(Finding::at(&file.path, 0, message).mild());
        }
        for function in functions(file).iter().filter(|f| f.lines > FUNCTION_HARD) {
            let Function { name, line, lines } = function;
            let message = format!("`{name}` has {lines} lines, at most {FUNCTION_HARD}");
            findings.push(Finding::at(&file.path, *line, message));
        }
    }
    findings
}

/// The functions of a file outside tests.
pub(crate) fn functions(file: &SourceFile) -> Vec<Function> {
    let mut reader = Reader::default();
    reader.visit_file(&file.syntax);
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<Function>,
}

impl Reader {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.fn_token.span.start().line;
        let end = block.brace_token.span.close().end().line;
        let name = signature.ident.to_string();
        self.found.push(Function {
            name,
            line,
            lines: end + 1 - line,
        });
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !source::is_test(source::attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.note(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.note(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_functions_are_found_and_tests_are_free() {
        let body = "    let _ = 1;\n".repeat(90);
        let long = format!(
            "fn long() {{\n{body}}}\n#[cfg(test)]\nmod tests {{\nfn t() {{\n{body}}}\n}}\n"
        );
        let check_text = |text: String| {
            let file = source::parse_text("mesh-api", "mesh-api/src/name.rs", text).unwrap();
            check(&[file])
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            check_text(long),
            ["error: mesh-api/src/name.rs:1: `long` has 92 lines, at most 80"]
        );
        let short = "fn f() {}\n";
        assert_eq!(check_text(short.repeat(500)), Vec::<String>::new());
        assert!(check_text(short.repeat(501))[0].starts_with("warning"));
        assert!(check_text(short.repeat(801))[0].starts_with("error"));
    }
}
