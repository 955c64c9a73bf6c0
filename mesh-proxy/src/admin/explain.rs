//! `/explain`: what happens to a request, by the live snapshot.

use std::collections::BTreeMap;

use mesh_api::decide::destination::{Resolution, is_within, resolve};
use mesh_api::decide::explanation::{self, Fields};
use mesh_api::decide::target::{self, normalise};
use mesh_api::decide::{Caller, Request};
use mesh_api::name::{DestinationName, ObjectName};
use mesh_api::snapshot::{Known, Snapshot};
use serde::Deserialize;
use serde_json::json;

use crate::admin::refuse;
use crate::config::{AdminAnswer, Config};

/// A request to explain.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question {
    /// The Host, with or without its port.
    host: String,
    /// The port dialled; absent: that of `host`, or 80.
    port: Option<u16>,
    #[serde(default = "get")]
    method: String,
    /// The target: path and query.
    #[serde(default = "root")]
    path: String,
    #[serde(default = "http")]
    scheme: String,
    #[serde(default)]
    headers: Headers,
    /// What a ClientHello names, of a connection with the scheme `tls`.
    server_name: Option<String>,
}

/// Header fields as pairs in order, or by name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Headers {
    Pairs(Vec<(String, String)>),
    Named(BTreeMap<String, String>),
}

impl Default for Headers {
    fn default() -> Self {
        Self::Pairs(Vec::new())
    }
}

/// Answers a question in JSON with an explanation in JSON.
pub(super) fn answer(config: &Config, body: &[u8]) -> AdminAnswer {
    let question: Question = match serde_json::from_slice(body) {
        Ok(question) => question,
        Err(error) => return refuse(400, &format!("not a request to explain: {error}")),
    };
    let host = target::host(&question.host);
    let own_port = question.host.strip_prefix(host).and_then(|rest| {
        let digits = rest.strip_prefix(':')?;
        digits.parse().ok()
    });
    let port = question.port.or(own_port).unwrap_or(80);
    let snapshot = config.snapshot();
    match find(config, &snapshot, host, port) {
        Ok(name) => explain(config.workload(), &snapshot, (&name, port), &question),
        Err(answer) => answer,
    }
}

fn find(
    config: &Config,
    snapshot: &Snapshot,
    host: &str,
    port: u16,
) -> Result<DestinationName, AdminAnswer> {
    let Some(facts) = &snapshot.mesh else {
        return Err(refuse(503, "no configuration yet"));
    };
    let address = host.trim_matches(['[', ']']).parse();
    if let Ok(address) = address
        && let Some(table) = snapshot.find_address(address, port)
    {
        return Ok(table.name.clone());
    }
    let outside = |reason: &str| {
        let body = json!({ "outside": true, "host": host, "port": port, "reason": reason });
        AdminAnswer {
            status: 200,
            body: body.to_string().into_bytes(),
        }
    };
    let name = match resolve(facts, config.namespace(), host, port) {
        Resolution::Service(name) => name,
        Resolution::Outside => return Err(outside("not a name of the mesh")),
    };
    match snapshot.destinations.get(&name) {
        Some(Known::Present(_)) => Ok(name),
        Some(Known::Absent) if !is_within(facts, host) => {
            Err(outside("the mesh knows no such Service"))
        }
        Some(Known::Absent) => Err(refuse(404, &format!("{name} does not exist"))),
        Some(Known::Failed(reason)) => {
            Err(refuse(409, &format!("{name} cannot be used: {reason}")))
        }
        None => {
            config.subscribe(name.clone());
            let reason = format!("{name} was not held here; it is asked for now, so try again");
            Err(refuse(409, &reason))
        }
    }
}

fn explain(
    workload: &ObjectName,
    snapshot: &Snapshot,
    (name, port): (&DestinationName, u16),
    question: &Question,
) -> AdminAnswer {
    let Some(table) = snapshot.destination(name) else {
        return refuse(404, &format!("{name} does not exist"));
    };
    let own = snapshot.inbound.get(workload);
    let labels = own.map(|own| &own.labels);
    if matches!(question.scheme.as_str(), "tcp" | "tls") {
        let server_name = question.server_name.as_deref();
        let explanation = explanation::explain_connection(table, server_name, labels);
        return super::answer(200, &explanation);
    }
    let target = match normalise(&question.path) {
        Ok(target) => target,
        Err(error) => return refuse(400, &format!("path: {error}")),
    };
    let fields: Vec<(&str, &str)> = match &question.headers {
        Headers::Pairs(pairs) => pairs
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect(),
        Headers::Named(named) => named
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect(),
    };
    let request = Request {
        method: &question.method,
        scheme: &question.scheme,
        authority: &question.host,
        port,
        path: &target.path,
        query: target.query,
        headers: &Fields(&fields),
        caller: Caller {
            namespace: &workload.namespace,
            labels,
            service_account: own.map(|own| &own.identity.service_account),
            address: own.and_then(|own| own.addresses.first().copied()),
        },
    };
    let explanation = explanation::explain(table, &request, Fields(&fields));
    super::answer(200, &explanation)
}

fn get() -> String {
    "GET".into()
}

fn root() -> String {
    "/".into()
}

fn http() -> String {
    "http".into()
}
