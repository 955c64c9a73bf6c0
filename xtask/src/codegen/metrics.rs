//! The page of metrics, from the constants that the proxy uses.
//!
//! The constants are read as source, so that this tool builds without the proxy. May use `source`.

use anyhow::bail;
use syn::visit::{self, Visit};

use crate::source;

const CONSTANTS: &str = "mesh-proxy/src/telemetry/names.rs";

const HEAD: &str = "\
# Metrics

<!-- Written by `cargo xtask codegen`; do not edit. -->

In the text format of Prometheus on the proxy's `observe` address, path `/metrics`. Names and labels are constants;
values of labels are names of configured objects, classes of status, and reasons of fixed tables. A label set that finds
no room is counted as `overflow`.

| metric | kind | labels | what |
|---|---|---|---|
";

/// The page.
pub(super) fn page() -> anyhow::Result<String> {
    render(&source::read(CONSTANTS)?)
}

fn render(constants: &str) -> anyhow::Result<String> {
    let mut rows = Rows::default();
    rows.visit_file(&syn::parse_file(constants)?);
    if rows.0.is_empty() {
        bail!("{CONSTANTS} has no call of `metric`");
    }
    Ok(format!("{HEAD}{}", rows.0.concat()))
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
    use super::render;

    #[test]
    fn each_constant_is_a_row() {
        let text = "const A: Metric = metric(Kind::Counter, \"a_total\", &[\"x\", \"y\"], \"As.\");\n\
                    const B: Metric = metric(Kind::Gauge, \"b\", &[], \"Bs.\");";
        let page = render(text).unwrap();
        assert!(
            page.ends_with("| `a_total` | counter | `x`, `y` | As. |\n| `b` | gauge | - | Bs. |\n")
        );
        assert!(render("const A: u8 = 0;").is_err());
    }
}
