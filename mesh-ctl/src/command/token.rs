//! `meshctl token`: a join token from the control plane, and what one grants.

mod inspect;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use mesh_api::name::{Name, Namespace};
use mesh_api::resource::duration;
use serde_json::{Value, json};

use crate::command::complete;
use crate::render::{self, Output};
use crate::source::admin::Admin;
use crate::source::state::{StateArg, StateFolder};

/// How long a token is taken if nothing is said.
const LIFETIME: Duration = Duration::from_hours(1);

/// Arguments of `meshctl token`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: Option<Command>,
    /// Namespace of the identity granted.
    #[arg(short, long, value_name = "NS", default_value = "default", add = complete::namespaces())]
    namespace: Namespace,
    /// Service account of the identity granted.
    #[arg(long, value_name = "NAME", required = true)]
    service_account: Option<Name>,
    /// Service that a bearer may back; repeatable [default: any of the namespace].
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<Name>,
    /// How long it is taken: `90s`, `1h30m`, or a number of seconds; at most a year.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    lifetime: Duration,
    /// Refuse it after its first use.
    #[arg(long, visible_alias = "single-use", conflicts_with = "reusable")]
    one_use: bool,
    /// Take it any number of times within its lifetime: the default, spelled out.
    #[arg(long)]
    reusable: bool,
    /// Address of the control plane as the bearer reaches it [default: where it listens].
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what a token grants; its secret is never printed.
    Inspect(inspect::Inspect),
}

/// Prints a token, or what one grants.
pub(crate) async fn run(token: Token, state: &StateArg) -> anyhow::Result<u8> {
    if let Some(Command::Inspect(arguments)) = &token.command {
        return inspect::run(arguments);
    }
    let answer = ask(&state.folder()?, &token).await?;
    let text = text_of(&answer)?;
    render::show(token.output, &answer, || format!("{text}\n"))?;
    Ok(0)
}

/// A token for one identity, of any service, good for an hour.
pub(crate) async fn for_identity(
    state: &StateFolder,
    namespace: &Namespace,
    service_account: &Name,
) -> anyhow::Result<String> {
    let token = Token {
        command: None,
        namespace: namespace.clone(),
        service_account: Some(service_account.clone()),
        services: Vec::new(),
        lifetime: LIFETIME,
        one_use: false,
        reusable: true,
        control: None,
        output: Output::default(),
    };
    Ok(text_of(&ask(state, &token).await?)?.to_owned())
}

async fn ask(state: &StateFolder, token: &Token) -> anyhow::Result<Value> {
    let Some(service_account) = &token.service_account else {
        bail!("--service-account is missing: a token grants one identity");
    };
    let body = json!({
        "namespace": token.namespace.as_str(),
        "serviceAccount": service_account.as_str(),
        "services": token.services.iter().map(Name::as_str).collect::<Vec<_>>(),
        "lifetimeSeconds": token.lifetime.as_secs(),
        "oneUse": token.one_use,
        "control": token.control,
    });
    Admin::of(state).post("/tokens", &body).await
}

fn text_of(answer: &Value) -> anyhow::Result<&str> {
    answer["token"]
        .as_str()
        .context("the control plane sent no token")
}

/// A duration with units, or plain seconds.
fn lifetime(text: &str) -> anyhow::Result<Duration> {
    let lifetime = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => duration::Duration(text.to_owned()).parse()?,
    };
    let year = Duration::from_hours(24 * 365);
    ensure!(
        (Duration::from_secs(1)..=year).contains(&lifetime),
        "must be between 1s and a year (8760h)"
    );
    Ok(lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_units_or_are_seconds() {
        assert_eq!(lifetime("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(lifetime("90").unwrap(), Duration::from_secs(90));
        for bad in ["0", "9000h", "soon", ""] {
            assert!(lifetime(bad).is_err(), "{bad}");
        }
    }
}
