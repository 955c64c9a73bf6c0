//! `meshctl token inspect`: the claims of a token, without what makes it valid.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueHint};
use mesh_api::token::{Claims, JoinToken};
use serde_json::{Value, json};

use crate::render::{Output, Rows, show, time};

/// Arguments of `meshctl token inspect`.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The token's file, `-` for standard input.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Prints the claims; 1 if the token has expired. Only its control plane can tell whether it made it.
pub(super) fn run(arguments: &Inspect) -> anyhow::Result<u8> {
    let text = read(&arguments.file)?;
    let token: JoinToken = text
        .parse()
        .with_context(|| format!("{} is refused", arguments.file.display()))?;
    let now = time::now();
    let claims = &token.claims;
    let is_expired = claims.not_after <= now;
    let report = report(claims, is_expired);
    show(arguments.output, &report, || table(claims, now))?;
    Ok(u8::from(is_expired))
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn report(claims: &Claims, is_expired: bool) -> Value {
    json!({
        "id": claims.id,
        "control": claims.control,
        "rootSha256": claims.root,
        "namespace": claims.namespace,
        "serviceAccount": claims.service_account,
        "services": claims.services,
        "notAfter": claims.not_after,
        "oneUse": claims.one_use,
        "expired": is_expired,
    })
}

fn table(claims: &Claims, now: i64) -> String {
    let services: Vec<String> = claims.services.iter().map(ToString::to_string).collect();
    let services = match services.as_slice() {
        [] => format!("any of namespace {}", claims.namespace),
        named => named.join(", "),
    };
    let end = format!(
        "{} ({})",
        time::date(claims.not_after),
        time::until(claims.not_after, now)
    );
    let mut rows = Rows::new(&["CLAIM", "VALUE"]);
    for (claim, value) in [
        ("namespace", claims.namespace.to_string()),
        ("service account", claims.service_account.to_string()),
        ("may back", services),
        (
            "uses",
            if claims.one_use { "one" } else { "any number" }.to_owned(),
        ),
        ("taken until", end),
        ("control plane", claims.control.clone()),
        ("root SHA-256", claims.root.clone()),
        ("id", claims.id.clone()),
    ] {
        rows.push([claim.to_owned(), value]);
    }
    rows.to_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_shown_without_the_secret() {
        let claims = Claims {
            id: "7".into(),
            control: "127.0.0.1:15012".into(),
            root: "ab".into(),
            namespace: "demo".parse().unwrap(),
            service_account: "shop".parse().unwrap(),
            services: vec![],
            not_after: 60,
            one_use: true,
        };
        let text = table(&claims, 0);
        assert!(text.contains("any of namespace demo"), "{text}");
        assert!(text.contains("1970-01-01T00:01:00Z (in 1m)"), "{text}");
        assert_eq!(report(&claims, true)["expired"], true);
    }
}
