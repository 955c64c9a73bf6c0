//! The page of `mesh-error`, from the tables that the code answers by.
//!
//! They are read as source, so that this tool builds without the proxy. May use `source`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::source;

const RULES: [&str; 2] = [
    "mesh-api/src/decide/decision.rs",
    "mesh-api/src/decide/grpc.rs",
];
const KINDS: &str = "mesh-proxy/src/error.rs";
const CODEC: &str = "mesh-proxy/src/h1/reject.rs";

/// Where each reason has a section of this name.
pub(crate) const SECTIONS: &str = "docs/guide/troubleshooting.md";

const HEAD: &str = "\
# mesh-error

<!-- Written by `cargo xtask codegen`; do not edit. -->

Every response that the mesh itself makes carries the field

```text
mesh-error: origin=<who>; reason=<why>
```

`origin` is `outbound` (the caller's proxy) or `inbound` (the receiver's); `; policy=<name>` follows where a policy decided.
`; unsent` at the end tells the caller's proxy that the app saw nothing of the request, so it may be
[retried](../concept/retries.md) whatever its method. The same reason is in the metric `mesh_requests_total` and in the
access log. An app cannot send this field: the receiving proxy removes it, and the caller's proxy believes it only over
an authenticated tunnel. What to do about each reason is behind its link.

A caller of gRPC gets status 200 and the code as `grpc-status`.

";

const RULES_HEAD: &str = "\
## Implied by the rules

| reason | status | gRPC | what it means |
|---|---|---|---|
";

const KINDS_HEAD: &str = "
## What went wrong

Retried by default: *yes* where nothing was sent, whatever the method; *GET, HEAD, OPTIONS* within the budget; *if asked* where
a policy says so.

| reason | status | gRPC | retried | what it means |
|---|---|---|---|---|
";

const CODEC_HEAD: &str = "
## Messages that break HTTP/1.1

The caller sees `reason=bad-message` with the status; the metric `mesh_messages_refused_total` has the finer reason. A response
that breaks the rules is `bad-response`, whatever the status here.

| reason | status | what is wrong |
|---|---|---|
";

/// Failures that are retried otherwise than by being unsent.
const RETRIED: [(&str, &str); 3] = [
    ("Fault", "if asked"),
    ("Reset", "GET, HEAD, OPTIONS"),
    ("PerTryTimeout", "if asked"),
];

/// The page; `codes` has a line with the gRPC code of each status, such as `404 UNIMPLEMENTED`.
pub(super) fn page(codes: &str) -> anyhow::Result<String> {
    let (rules, kinds) = tables()?;
    let codec = codec(&source::read(CODEC)?)?;
    let unsent = unsent(&syn::parse_file(&source::read(KINDS)?)?);
    for (name, _) in RETRIED {
        kinds
            .iter()
            .find(|row| row.name == name)
            .with_context(|| format!("{KINDS}: no {name}"))?;
    }
    let mut page = format!("{HEAD}{RULES_HEAD}");
    for row in &rules {
        let code = code(codes, &row.status);
        writeln!(
            page,
            "| {} | {} | {code} | {} |",
            row.link(),
            row.status,
            row.what
        )?;
    }
    page += KINDS_HEAD;
    for row in &kinds {
        let otherwise = RETRIED.iter().find(|(name, _)| row.name == *name);
        let retried = match otherwise {
            Some((_, text)) => text,
            None if unsent.contains(&row.name) => "yes",
            None => "no",
        };
        let status = if row.status.is_empty() {
            statuses(&codec)
        } else {
            row.status.clone()
        };
        let (link, code, what) = (row.link(), code(codes, &status), &row.what);
        writeln!(page, "| {link} | {status} | {code} | {retried} | {what} |")?;
    }
    page += CODEC_HEAD;
    for [status, reason, text] in &codec {
        writeln!(page, "| `{reason}` | {status} | {text} |")?;
    }
    Ok(page)
}

/// Every reason that `mesh-error` may carry.
pub(crate) fn reasons() -> anyhow::Result<Vec<String>> {
    let (rules, kinds) = tables()?;
    Ok(rules
        .into_iter()
        .chain(kinds)
        .map(|row| row.reason)
        .collect())
}

fn tables() -> anyhow::Result<(Vec<Row>, Vec<Row>)> {
    let [rules, codes] = RULES;
    let rules = table(&[&source::read(rules)?, &source::read(codes)?], "Refusal").context(rules)?;
    let kinds = table(&[&source::read(KINDS)?], "Kind").context(KINDS)?;
    Ok((rules, kinds))
}

/// A variant with what the code says of it.
#[derive(Debug, Default)]
struct Row {
    name: String,
    reason: String,
    /// Empty where it depends on the message.
    status: String,
    what: String,
}

impl Row {
    fn link(&self) -> String {
        format!("[`{0}`](../guide/troubleshooting.md#{0})", self.reason)
    }
}

/// A row for each variant of the enum `name` of the first file: its comment, and what `match` makes of
/// it in any.
fn table(files: &[&str], name: &str) -> anyhow::Result<Vec<Row>> {
    let files = files.iter().map(|text| syn::parse_file(text));
    let files: Vec<syn::File> = files.collect::<Result<_, _>>()?;
    let mut arms = Arms::default();
    for file in &files {
        arms.visit_file(file);
    }
    let mut items = files.iter().flat_map(|file| &file.items);
    let found = items.find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == name => Some(item),
        _ => None,
    });
    let variants = found
        .with_context(|| format!("no enum {name}"))?
        .variants
        .iter();
    variants
        .map(|variant| {
            let name = variant.ident.to_string();
            let Some((reason, status)) = arms.0.get(&name).cloned() else {
                bail!("nothing is said of {name}");
            };
            if reason.is_empty() {
                bail!("{name} has no reason");
            }
            let what = comment(&variant.attrs);
            // The status has a column of its own.
            let what = what
                .split(&format!(": {status}"))
                .next()
                .unwrap_or_default()
                .to_owned();
            Ok(Row {
                name,
                reason,
                status,
                what,
            })
        })
        .collect()
}

/// By variant: the text and the number that any `match` makes of it.
#[derive(Default)]
struct Arms(BTreeMap<String, (String, String)>);

impl<'ast> Visit<'ast> for Arms {
    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let values: Vec<&syn::Expr> = match &*arm.body {
            syn::Expr::Tuple(tuple) => tuple.elems.iter().collect(),
            body => vec![body],
        };
        for name in variants(&arm.pat) {
            let said = self.0.entry(name).or_default();
            for value in &values {
                match value {
                    syn::Expr::Lit(syn::ExprLit {
                        lit: syn::Lit::Str(text),
                        ..
                    }) => said.0 = text.value(),
                    syn::Expr::Lit(syn::ExprLit {
                        lit: syn::Lit::Int(number),
                        ..
                    }) => {
                        number.base10_digits().clone_into(&mut said.1);
                    }
                    _ => {}
                }
            }
        }
        visit::visit_arm(self, arm);
    }
}

/// The variants that a pattern names.
fn variants(pattern: &syn::Pat) -> Vec<String> {
    let last = |path: &syn::Path| {
        path.segments
            .last()
            .map(|segment| segment.ident.to_string())
    };
    match pattern {
        syn::Pat::Or(either) => either.cases.iter().flat_map(variants).collect(),
        syn::Pat::Path(path) => last(&path.path).into_iter().collect(),
        syn::Pat::TupleStruct(pattern) => last(&pattern.path).into_iter().collect(),
        syn::Pat::Struct(pattern) => last(&pattern.path).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The variants that `is_unsent` names.
fn unsent(file: &syn::File) -> Vec<String> {
    let functions = file.items.iter().filter_map(|item| match item {
        syn::Item::Impl(item) => Some(&item.items),
        _ => None,
    });
    let found = functions.flatten().find_map(|item| match item {
        syn::ImplItem::Fn(function) if function.sig.ident == "is_unsent" => Some(&function.block),
        _ => None,
    });
    let mut names = Names::default();
    if let Some(block) = found {
        names.visit_block(block);
    }
    names.0
}

#[derive(Default)]
struct Names(Vec<String>);

impl Visit<'_> for Names {
    fn visit_macro(&mut self, call: &syn::Macro) {
        let idents = call
            .tokens
            .clone()
            .into_iter()
            .filter_map(|token| match token {
                TokenTree::Ident(ident) => Some(ident.to_string()),
                _ => None,
            });
        self.0
            .extend(idents.filter(|name| name != "self" && name != "Self"));
    }
}

/// The first sentence of a comment, without its full stop.
fn comment(attributes: &[syn::Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(syn::MetaNameValue {
                value:
                    syn::Expr::Lit(syn::ExprLit {
                        lit: syn::Lit::Str(text),
                        ..
                    }),
                path,
                ..
            }) if path.is_ident("doc") => Some(text.value().trim().to_owned()),
            _ => None,
        });
    let text = lines.collect::<Vec<_>>().join(" ");
    text.trim_end_matches('.').replace('|', "\\|")
}

/// Status, reason and text of each row of the codec's table.
fn codec(text: &str) -> anyhow::Result<Vec<[String; 3]>> {
    let file = syn::parse_file(text)?;
    let calls = file.items.iter().filter_map(|item| match item {
        syn::Item::Macro(item) if item.mac.path.is_ident("refusals") => {
            Some(item.mac.tokens.clone())
        }
        _ => None,
    });
    let rows: Vec<[String; 3]> = calls.flat_map(rows).collect();
    if rows.is_empty() {
        bail!("{CODEC} has no table");
    }
    Ok(rows)
}

fn rows(tokens: TokenStream) -> Vec<[String; 3]> {
    let literals = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => Some(literal.to_string().trim_matches('"').to_owned()),
        _ => None,
    });
    let literals: Vec<String> = literals.collect();
    let rows = literals.chunks_exact(3);
    rows.map(|row| [row[0].clone(), row[1].clone(), row[2].clone()])
        .collect()
}

/// The gRPC codes of statuses in a list, each once.
fn code(codes: &str, statuses: &str) -> String {
    let lines = codes.lines().filter_map(|line| line.split_once(' '));
    let named = lines.filter(|(status, _)| statuses.split(", ").any(|one| one == *status));
    let mut names: Vec<&str> = named.map(|(_, name)| name).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The statuses that the codec tells a client.
fn statuses(codec: &[[String; 3]]) -> String {
    let mut all: Vec<&str> = codec.iter().map(|[status, ..]| status.as_str()).collect();
    all.retain(|status| status.starts_with('4') || *status == "505");
    all.sort_unstable();
    all.dedup();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_from_the_enum_and_its_matches() {
        let text = "enum Kind {\n/// It broke.\nBroke,\n/// It is bad.\nBad(u16) }\n\
            impl Kind { fn row(self) -> (u16, &'static str) { match self { Self::Broke => (502, \"broke\"),\n\
            Self::Bad(status) => (status, \"bad\") } }\n\
            fn is_unsent(self) -> bool { matches!(self, Self::Broke) } }";
        let rows = table(&[text], "Kind").unwrap();
        assert_eq!(
            (rows[0].reason.as_str(), rows[0].status.as_str()),
            ("broke", "502")
        );
        assert_eq!(
            (rows[1].reason.as_str(), rows[1].status.as_str()),
            ("bad", "")
        );
        assert_eq!(rows[0].what, "It broke");
        assert_eq!(unsent(&syn::parse_file(text).unwrap()), ["Broke"]);
        assert!(table(&["enum Kind { A }"], "Kind").is_err());
    }

    #[test]
    fn the_codecs_table_is_read() {
        let text = "refusals! { A 400 \"bad-line\" \"a\"; B 505 \"bad-version\" \"b\"; }";
        let rows = codec(text).unwrap();
        assert_eq!(rows[1], ["505", "bad-version", "b"]);
        assert_eq!(statuses(&rows), "400, 505");
        assert_eq!(
            code("400 INTERNAL\n404 UNIMPLEMENTED\n", "400, 404"),
            "INTERNAL, UNIMPLEMENTED"
        );
    }
}
