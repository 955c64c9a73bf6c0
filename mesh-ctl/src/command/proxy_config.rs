//! `meshctl proxy-config`: what one running proxy decides by, asked through the control plane.

use anyhow::Context;
use clap::{Args, ValueEnum};
use mesh_api::name::ObjectName;
use serde_json::Value;

use crate::render::{Output, show};
use crate::source::admin::Admin;
use crate::source::state::StateArg;

/// Arguments of `meshctl proxy-config`.
#[derive(Debug, Args)]
pub(crate) struct ProxyConfig {
    /// Which part.
    #[arg(value_enum)]
    part: Part,
    /// The workload, `namespace/name` or `name` in `default`.
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    #[command(flatten)]
    output: Output,
}

/// A part of a proxy's config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Everything.
    All,
    /// Listening sockets.
    Listeners,
    /// Rules by destination, in order of precedence.
    Routes,
    /// Backends by destination.
    Backends,
    /// Endpoints by backend.
    Endpoints,
    /// The identity in use and the roots trusted.
    Certificates,
}

/// Prints the part asked for.
pub(crate) async fn run(arguments: ProxyConfig, state: &StateArg) -> anyhow::Result<u8> {
    let workload = workload_name(&arguments.workload)?;
    let page = match arguments.part {
        Part::Certificates => "certificates",
        _ => "config",
    };
    let target = format!("/proxy/{}/{}/{page}", workload.namespace, workload.name);
    let config = Admin::of(&state.folder()?).get(&target).await?;
    let name = match arguments.part {
        Part::All | Part::Certificates => None,
        Part::Listeners => Some("listeners"),
        Part::Routes => Some("routes"),
        Part::Backends => Some("backends"),
        Part::Endpoints => Some("endpoints"),
    };
    let part = match name {
        None => config,
        Some(name) => collect(&config, name),
    };
    show(arguments.output, &part, || match &part {
        Value::Array(items) if items.iter().all(Value::is_object) => {
            super::get::rows(&part).to_text()
        }
        _ => format!("{part:#}\n"),
    })?;
    Ok(0)
}

/// `namespace/name`; a bare name is in `default`.
pub(crate) fn workload_name(text: &str) -> anyhow::Result<ObjectName> {
    let full = if text.contains('/') {
        text.to_owned()
    } else {
        format!("default/{text}")
    };
    full.parse()
        .with_context(|| format!("{text:?} is no workload (namespace/name)"))
}

/// Every list or object under a field called `name`, wherever it is, as one list.
fn collect(config: &Value, name: &str) -> Value {
    let mut found = Vec::new();
    walk(config, name, &mut found);
    Value::Array(found)
}

fn walk(value: &Value, name: &str, found: &mut Vec<Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, name, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Array(items) if key == name => found.extend(items.iter().cloned()),
                    value if key == name => found.push(value.clone()),
                    value => walk(value, name, found),
                }
            }
        }
        _ => {}
    }
}
