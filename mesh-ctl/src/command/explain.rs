//! `meshctl explain`: what happens to a request, and why.
//!
//! Offline it goes through the same resource, model, translation, snapshot and decision as a
//! proxy; live it asks the running proxy of a workload.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::Args;
use mesh_api::decide::Request;
use mesh_api::decide::destination::{Resolution, resolve};
use mesh_api::decide::explanation::{self, Explanation, Fields};
use mesh_api::decide::target::{self, normalise};
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;
use serde_json::json;

use crate::command::complete;
use crate::command::proxy_config::workload_name;
use crate::render::{Output, show};
use crate::source::admin::Admin;
use crate::source::files::Files;
use crate::source::proxy;
use crate::source::state::StateArg;

/// Arguments of `meshctl explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// `[METHOD] URL`, the URL as the caller writes it.
    #[arg(value_name = "REQUEST", required = true, num_args = 1..=2, add = complete::requests())]
    request: Vec<String>,
    /// The caller, `namespace/workload`; routes may differ by its namespace.
    #[arg(long, value_name = "WORKLOAD", add = complete::workloads())]
    from: String,
    /// Header field of the request; repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
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

/// Prints the explanation.
pub(crate) async fn run(arguments: Explain, state: &StateArg) -> anyhow::Result<u8> {
    let asked = Asked::parse(&arguments.request, &arguments.headers)?;
    if arguments.live {
        let admin = Admin::of(&state.folder()?);
        let from = proxy::find(&admin, &arguments.from, None).await?;
        let answer = ask(&admin, &from, &asked).await?;
        show(arguments.output, &answer, || {
            serde_saphyr::to_string(&answer).unwrap_or_else(|_| format!("{answer:#}\n"))
        })?;
        return Ok(0);
    }
    let from = workload_name(&arguments.from)?;
    let paths = if arguments.files.is_empty() {
        vec![state.folder()?.manifests()]
    } else {
        arguments.files
    };
    let files = Files::read(&paths)?;
    let explanation = offline(&files.catalog, &from.namespace, &asked)?;
    show(arguments.output, &explanation, || explanation.to_string())?;
    Ok(0)
}

/// Explains by resources, as a proxy in `consumer` would decide.
pub(crate) fn offline(
    catalog: &Catalog,
    consumer: &Namespace,
    asked: &Asked,
) -> anyhow::Result<Explanation> {
    let host = target::host(&asked.authority);
    let Resolution::Service(name) = resolve(&catalog.mesh(), consumer, host, asked.port) else {
        bail!("{host} is outside the mesh: the request goes there as it is");
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
    let table = DestinationTable::compile(destination, None).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{name} cannot be used: {}", faults.join("; "))
    })?;
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
    };
    Ok(explanation::explain(&table, &request, Fields(&fields)))
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

impl Asked {
    /// Reads `[METHOD] URL` and `name: value` fields.
    pub(crate) fn parse(words: &[String], headers: &[String]) -> anyhow::Result<Self> {
        let (method, url) = match words {
            [url] => ("GET", url),
            [method, url] => (method.as_str(), url),
            _ => bail!("a request is [METHOD] URL"),
        };
        let rest = url.strip_prefix("http://").unwrap_or(url);
        ensure!(
            !rest.contains("://"),
            "{url}: only http:// is routed; TLS passes unopened"
        );
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(split).unwrap_or((rest, ""));
        ensure!(!authority.is_empty(), "{url} names no host");
        let host = target::host(authority);
        let port = match authority
            .strip_prefix(host)
            .and_then(|rest| rest.strip_prefix(':'))
        {
            Some(port) => port
                .parse()
                .with_context(|| format!("port of {authority}"))?,
            None => 80,
        };
        let target = match path.chars().next() {
            Some('/') => path.to_owned(),
            _ => format!("/{path}"),
        };
        let field = |text: &String| {
            let (name, value) = text
                .split_once(':')
                .with_context(|| format!("{text:?} is no `name: value`"))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        };
        Ok(Self {
            method: method.to_owned(),
            authority: authority.to_owned(),
            port,
            target,
            headers: headers.iter().map(field).collect::<anyhow::Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_written() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let asked = Asked::parse(
            &words("PUT http://catalog.demo:8080/items?x=1"),
            &["K: v".into()],
        )
        .unwrap();
        assert_eq!((asked.method.as_str(), asked.port), ("PUT", 8080));
        assert_eq!(
            (asked.authority.as_str(), asked.target.as_str()),
            ("catalog.demo:8080", "/items?x=1")
        );
        assert_eq!(asked.headers, [("K".to_owned(), "v".to_owned())]);
        assert_eq!(
            Asked::parse(&words("catalog?y"), &[]).unwrap().target,
            "/?y"
        );
        for bad in ["https://a/", "http:///x", "a:99999/"] {
            assert!(Asked::parse(&words(bad), &[]).is_err(), "{bad}");
        }
    }
}
