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

/// Every item under the fields called `name`, each with the names of what it is in.
fn collect(config: &Value, name: &str) -> Value {
    let mut found = Vec::new();
    for listener in list(config, "listeners").filter(|_| name == "listeners") {
        found.push(listener.clone());
    }
    for destination in list(config, "destinations") {
        let of = &destination["name"];
        match name {
            "routes" => {
                for route in list(destination, "routes") {
                    let rules = list(route, "rules");
                    let rules = rules.map(|rule| {
                        within(rule, &[("destination", of), ("route", &route["name"])])
                    });
                    found.extend(rules);
                }
            }
            "backends" => {
                let backends = list(destination, "backends");
                found.extend(backends.map(|backend| {
                    let mut backend = within(backend, &[("destination", of)]);
                    let count = list(&backend, "endpoints").count();
                    backend["endpoints"] = count.into();
                    backend
                }));
            }
            "endpoints" => {
                for backend in list(destination, "backends") {
                    let endpoints = list(backend, "endpoints");
                    let outer = [("destination", of), ("backend", &backend["name"])];
                    found.extend(endpoints.map(|endpoint| within(endpoint, &outer)));
                }
            }
            _ => {}
        }
    }
    Value::Array(found)
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[field].as_array().into_iter().flatten()
}

fn within(item: &Value, outer: &[(&str, &Value)]) -> Value {
    let mut item = item.clone();
    for (field, value) in outer {
        item[*field] = (*value).clone();
    }
    item
}
