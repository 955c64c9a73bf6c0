//! `meshctl token`: a join token from the control plane.

use anyhow::Context;
use clap::Args;
use mesh_api::name::{Name, Namespace};
use serde_json::json;

use crate::render;
use crate::source::admin::Admin;
use crate::source::state::{StateArg, StateFolder};

/// Arguments of `meshctl token`.
#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Namespace of the identity granted.
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: Namespace,
    /// Service account of the identity granted.
    #[arg(long, value_name = "NAME")]
    service_account: Name,
    /// Service that a bearer may back; any of the namespace if none is given.
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<Name>,
    /// Seconds for which it is taken.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    lifetime: u32,
    /// Refuse it after its first use.
    #[arg(long)]
    one_use: bool,
}

/// Prints a token.
pub(crate) async fn run(token: Token, state: &StateArg) -> anyhow::Result<u8> {
    let text = ask(&state.folder()?, &token).await?;
    render::print(&format!("{text}\n"))?;
    Ok(0)
}

/// A token for one identity, of any service, good for an hour.
pub(crate) async fn for_identity(
    state: &StateFolder,
    namespace: &Namespace,
    service_account: &Name,
) -> anyhow::Result<String> {
    let token = Token {
        namespace: namespace.clone(),
        service_account: service_account.clone(),
        services: Vec::new(),
        lifetime: 3600,
        one_use: false,
    };
    ask(state, &token).await
}

async fn ask(state: &StateFolder, token: &Token) -> anyhow::Result<String> {
    let body = json!({
        "namespace": token.namespace.as_str(),
        "serviceAccount": token.service_account.as_str(),
        "services": token.services.iter().map(Name::as_str).collect::<Vec<_>>(),
        "lifetimeSeconds": token.lifetime,
        "oneUse": token.one_use,
    });
    let answer = Admin::of(state).post("/tokens", &body).await?;
    let text = answer.get("token").and_then(|token| token.as_str());
    Ok(text.context("the control plane sent no token")?.to_owned())
}
