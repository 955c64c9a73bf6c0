//! `meshctl explain`: what happens to a request or a connection, and why.
//!
//! Offline it goes through the same resource, model, translation, snapshot and decision as a
//! proxy; live it asks the running proxy of a workload.

mod limits;
mod receiver;
mod url;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use mesh_api::decide::destination::{Resolution, resolve};
use mesh_api::decide::explanation::{self, Explanation, Fields};
use mesh_api::decide::target::{self, normalise};
use mesh_api::decide::{Caller, Request};
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;
use serde_json::json;

use crate::command::complete;
use crate::command::explain::receiver::Received;
use crate::command::proxy_config::workload_name;
use crate::render::{Output, show};
use crate::source::admin::Admin;
use crate::source::files::Files;
use crate::source::origin::{Mesh, Origin};
use crate::source::proxy;

/// Arguments of `meshctl explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// `[METHOD] URL`, the URL as the caller writes it: `http://`, `grpc://HOST:PORT/pkg.Service/Method`,
    /// `tcp://HOST:PORT` or `tls://HOST:PORT`.
    #[arg(value_name = "REQUEST", required = true, num_args = 1..=2, add = complete::requests())]
    request: Vec<String>,
    /// The caller, `namespace/workload`; routes may differ by its namespace.
    #[arg(long, value_name = "WORKLOAD", add = complete::workloads())]
    from: String,
    /// Header field of the request; repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The server name that a `tls://` client asks for [default: the host].
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Read manifests from here; repeatable [default: the demo's in the state folder].
    #[arg(
        short = 'f',
        long = "file",
        value_name = "PATH",
        conflicts_with = "live"
    )]
    files: Vec<PathBuf>,
    /// Ask the caller's running proxy.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    output: Output,
}

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: String,
    /// The Host, with its port if the URL has one.
    pub(crate) authority: String,
    /// The port dialled.
    pub(crate) port: u16,
    /// Path and query, as sent.
    pub(crate) target: String,
    /// Header fields in order.
    pub(crate) headers: Vec<(String, String)>,
}

/// A connection to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AskedConnection {
    /// The host and port dialled.
    pub(crate) authority: String,
    /// The port dialled.
    pub(crate) port: u16,
    /// What its ClientHello names, if it is TLS.
    pub(crate) server_name: Option<String>,
}

/// What a command line asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Request(Asked),
    Connection(AskedConnection),
}

/// Prints the explanation.
pub(crate) async fn run(arguments: Explain, origin: &Origin) -> anyhow::Result<u8> {
    let subject = url::parse(
        &arguments.request,
        &arguments.headers,
        arguments.sni.as_deref(),
    )?;
    let mesh = match arguments.files.as_slice() {
        [] => Some(origin.mesh().await?),
        _ => None,
    };
    // A cluster has no folder of manifests: there the running proxy is asked.
    if let Some(mesh) = &mesh
        && (arguments.live || matches!(mesh, Mesh::Cluster(_)))
    {
        let admin = mesh.admin();
        let from = proxy::find(&admin, &arguments.from, None).await?;
        let answer = match &subject {
            Subject::Request(asked) => ask(&admin, &from, asked).await?,
            Subject::Connection(asked) => ask_connection(&admin, &from, asked).await?,
        };
        show(arguments.output, &answer, || {
            serde_saphyr::to_string(&answer).unwrap_or_else(|_| format!("{answer:#}\n"))
        })?;
        return Ok(0);
    }
    let from = workload_name(&arguments.from)?;
    let paths = match mesh {
        Some(Mesh::Folder(folder)) => vec![folder.manifests()],
        _ => arguments.files,
    };
    let files = Files::read(&paths)?;
    match &subject {
        Subject::Request(asked) => {
            let explanation = offline(&files.catalog, caller(&files.catalog, &from), asked)?;
            let received = Received::of(explanation, &files.catalog, &from, Some(asked));
            show(arguments.output, &received, || received.to_string())?;
        }
        Subject::Connection(asked) => {
            let (authority, port) = (&asked.authority, asked.port);
            let table = table(&files.catalog, &from.namespace, authority, port)?;
            let labels = caller(&files.catalog, &from).labels;
            let server_name = asked.server_name.as_deref();
            let explanation = explanation::explain_connection(&table, server_name, labels);
            let received = Received::of(explanation, &files.catalog, &from, None);
            show(arguments.output, &received, || received.to_string())?;
        }
    }
    Ok(0)
}

impl Asked {
    /// Reads a request, `[METHOD] URL`, and its `name: value` fields.
    pub(crate) fn parse(words: &[String], headers: &[String]) -> anyhow::Result<Self> {
        match url::parse(words, headers, None)? {
            Subject::Request(asked) => Ok(asked),
            Subject::Connection(_) => bail!("a connection is no request: write http:// or grpc://"),
        }
    }
}

/// A workload as a caller. Of one that is not among the resources only the namespace is known.
pub(crate) fn caller<'a>(catalog: &'a Catalog, from: &'a ObjectName) -> Caller<'a> {
    let known = catalog.workload(from);
    Caller {
        namespace: &from.namespace,
        labels: known.map(|workload| &workload.labels),
        service_account: known.map(|workload| &workload.service_account),
        address: known.and_then(|workload| workload.addresses.first().copied()),
    }
}

/// Explains by resources, as the proxy of `caller` would decide.
pub(crate) fn offline(
    catalog: &Catalog,
    caller: Caller<'_>,
    asked: &Asked,
) -> anyhow::Result<Explanation> {
    let consumer = caller.namespace;
    let table = table(catalog, consumer, &asked.authority, asked.port)?;
    let target = normalise(&asked.target).with_context(|| format!("target {:?}", asked.target))?;
    let fields: Vec<(&str, &str)> = asked
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let request = Request {
        method: &asked.method,
        scheme: "http",
        authority: &asked.authority,
        port: asked.port,
        path: &target.path,
        query: target.query,
        headers: &Fields(&fields),
        caller,
    };
    Ok(explanation::explain(&table, &request, Fields(&fields)))
}

/// The destination that `consumer` reaches by an authority.
fn table(
    catalog: &Catalog,
    consumer: &Namespace,
    authority: &str,
    port: u16,
) -> anyhow::Result<DestinationTable> {
    let host = target::host(authority);
    let Resolution::Service(name) = resolve(&catalog.mesh(), consumer, host, port) else {
        bail!("{host} is outside the mesh: what is sent goes there as it is");
    };
    let destination = catalog.destination(&name, consumer).with_context(|| {
        let known: Vec<String> = catalog
            .destinations()
            .map(|known| known.to_string())
            .collect();
        format!(
            "no Service has the port {name}; there are {}",
            known.join(", ")
        )
    })?;
    DestinationTable::compile(destination, None).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{name} cannot be used: {}", faults.join("; "))
    })
}

/// Asks the running proxy of `from`.
pub(crate) async fn ask(
    admin: &Admin,
    from: &ObjectName,
    asked: &Asked,
) -> anyhow::Result<serde_json::Value> {
    let body = json!({
        "host": asked.authority,
        "port": asked.port,
        "method": asked.method,
        "path": asked.target,
        "headers": asked.headers,
    });
    let target = format!("/proxy/{}/{}/explain", from.namespace, from.name);
    admin.post(&target, &body).await
}

/// Asks the running proxy of `from` about a connection.
async fn ask_connection(
    admin: &Admin,
    from: &ObjectName,
    asked: &AskedConnection,
) -> anyhow::Result<serde_json::Value> {
    let body = json!({
        "host": asked.authority,
        "port": asked.port,
        "scheme": if asked.server_name.is_some() { "tls" } else { "tcp" },
        "serverName": asked.server_name,
    });
    let target = format!("/proxy/{}/{}/explain", from.namespace, from.name);
    admin.post(&target, &body).await
}
