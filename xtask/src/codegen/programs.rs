//! Pages that programs of the workspace print: they know what this tool would have to read.
//!
//! They are built for debugging, as tests are. May use `source` and `step`.

use std::fmt::Write as _;

use anyhow::{Context, bail};

use crate::source;
use crate::step::{self, cargo};

const DEFAULTS_HEAD: &str = "\
# Defaults

<!-- Written by `cargo xtask codegen`; do not edit. -->

What holds where nobody says otherwise. `meshctl explain` prints the value in force for a request, and who set it.

| what | default | belongs to |
|---|---|---|
";

/// Constants of the shells that users notice: the file, the constant, what it is, whose it is.
const CONSTANTS: [[&str; 4]; 6] = [
    [
        "mesh-proxy/src/exchange/rest.rs",
        "IDLE",
        "idle connection of a caller",
        "the proxy",
    ],
    [
        "mesh-proxy/src/detect.rs",
        "WAIT",
        "wait for first bytes that tell the protocol, then opaque",
        "the proxy",
    ],
    [
        "mesh-ctl/src/command/run/ready.rs",
        "LIMIT",
        "longest wait of an app for its sidecar",
        "`meshctl run`",
    ],
    [
        "mesh-ctl/src/command/run/supervise.rs",
        "DRAIN",
        "time for a sidecar to drain",
        "`meshctl run`",
    ],
    [
        "mesh-ctl/src/command/run/supervise.rs",
        "APP_GRACE",
        "time for an app to end",
        "`meshctl run`",
    ],
    [
        "mesh-control/src/ca/material.rs",
        "CLOCK_SKEW",
        "certificates are valid before now, for clocks that differ",
        "the mesh",
    ],
];

/// `docs/reference/config.md`.
pub(super) fn config() -> anyhow::Result<String> {
    reference("config")
}

/// The gRPC code of each status of a refusal.
pub(super) fn codes() -> anyhow::Result<String> {
    reference("codes")
}

/// `docs/reference/cli.md`.
pub(super) fn cli() -> anyhow::Result<String> {
    step::output(
        cargo(["run", "--quiet", "--locked", "--package", "mesh-ctl", "--"]).arg("reference"),
    )
}

/// `docs/reference/defaults.md`: what the contract says, then what its users add.
pub(super) fn defaults() -> anyhow::Result<String> {
    let mut page = format!("{DEFAULTS_HEAD}{}", reference("defaults")?);
    for [file, name, what, whose] in CONSTANTS {
        let value =
            duration(&source::read(file)?, name).with_context(|| format!("{file}: {name}"))?;
        writeln!(page, "| {what} | {value} | {whose} |")?;
    }
    Ok(page)
}

fn reference(page: &str) -> anyhow::Result<String> {
    let program = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "mesh-api",
        "--example",
        "reference",
    ];
    step::output(cargo(program).args(["--", page]))
}

/// The value of `const NAME: Duration = Duration::from_secs(10)`.
fn duration(text: &str, name: &str) -> anyhow::Result<String> {
    for item in syn::parse_file(text)?.items {
        if let syn::Item::Const(item) = item
            && item.ident == name
            && let syn::Expr::Call(call) = &*item.expr
            && let syn::Expr::Path(function) = &*call.func
            && let Some(unit) = function.path.segments.last()
            && let Some(syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Int(number),
                ..
            })) = call.args.first()
        {
            let unit = match unit.ident.to_string().as_str() {
                "from_millis" => "ms",
                "from_secs" => "s",
                "from_mins" => "min",
                "from_hours" => "h",
                other => bail!("{other} is not a unit that we print"),
            };
            return Ok(format!("{} {unit}", number.base10_digits()));
        }
    }
    bail!("there is no such constant")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn a_constant_is_read_with_its_unit() {
        let text = "pub const WAIT: Duration = Duration::from_millis(100);\nconst N: u8 = 1;";
        assert_eq!(duration(text, "WAIT").unwrap(), "100 ms");
        assert!(duration(text, "N").is_err());
        assert!(duration(text, "GONE").is_err());
    }
}
