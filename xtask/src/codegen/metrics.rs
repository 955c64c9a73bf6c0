//! The page of metrics, from the constants that proxy and control plane use.
//!
//! The constants are read as source, so that this tool builds without them. May use `source`.

use anyhow::bail;
use syn::visit::{self, Visit};

use crate::source;

const PROXY: &str = "mesh-proxy/src/telemetry/names.rs";
const CONTROL: &str = "mesh-control/src/observe/names.rs";

const HEAD: &str = "\
# Metrics

<!-- Written by `cargo xtask codegen`; do not edit. -->

In the text format of Prometheus on the proxy's `observe` address, path `/metrics`. Names and labels are constants;
values of labels are names of configured objects, classes of status, and reasons of fixed tables. A label set that finds
no room is counted as `overflow`.

| metric | kind | labels | what |
|---|---|---|---|
";

const CONTROL_HEAD: &str = "
## The control plane's

In a cluster, on port 15020 of each replica, path `/metrics`.

| metric | kind | labels | what |
|---|---|---|---|
";

/// The page.
pub(super) fn page() -> anyhow::Result<String> {
    let proxy = render(HEAD, PROXY, &source::read(PROXY)?)?;
    let control = render(CONTROL_HEAD, CONTROL, &source::read(CONTROL)?)?;
    Ok(proxy + &control)
}

fn render(head: &str, name: &str, constants: &str) -> anyhow::Result<String> {
    let mut rows = Rows::default();
    rows.visit_file(&syn::parse_file(constants)?);
    if rows.0.is_empty() {
        bail!("{name} has no call of `metric`");
    }
    Ok(format!("{head}{}", rows.0.concat()))
}

/// A row for each `metric(Kind::Counter, "name", &["label"], "what")`.
#[derive(Default)]
struct Rows(Vec<String>);

impl<'ast> Visit<'ast> for Rows {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let arguments: Vec<&syn::Expr> = call.args.iter().collect();
        if let syn::Expr::Path(function) = &*call.func
            && function.path.is_ident("metric")
            && let [
                syn::Expr::Path(kind),
                name,
                syn::Expr::Reference(labels),
                what,
            ] = *arguments
            && let (Some(name), Some(what)) = (text(name), text(what))
            && let syn::Expr::Array(labels) = &*labels.expr
        {
            let kind = kind
                .path
                .segments
                .last()
                .map(|segment| segment.ident.to_string());
            let kind = kind.unwrap_or_default().to_lowercase();
            let labels: Vec<String> = labels
                .elems
                .iter()
                .filter_map(text)
                .map(|label| format!("`{label}`"))
                .collect();
            let labels = if labels.is_empty() {
                "-".to_owned()
            } else {
                labels.join(", ")
            };
            self.0
                .push(format!("| `{name}` | {kind} | {labels} | {what} |\n"));
        }
        visit::visit_expr_call(self, call);
    }
}

fn text(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Lit(syn::ExprLit {
            lit: syn::Lit::Str(text),
            ..
        }) => Some(text.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD, render};

    #[test]
    fn each_constant_is_a_row() {
        let text = "const A: Metric = metric(Kind::Counter, \"a_total\", &[\"x\", \"y\"], \"As.\");\n\
                    const B: Metric = metric(Kind::Gauge, \"b\", &[], \"Bs.\");";
        let page = render(HEAD, "names.rs", text).unwrap();
        assert!(
            page.ends_with("| `a_total` | counter | `x`, `y` | As. |\n| `b` | gauge | - | Bs. |\n")
        );
        assert!(render(HEAD, "names.rs", "const A: u8 = 0;").is_err());
    }
}
