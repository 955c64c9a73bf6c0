//! `meshctl proxy-status`: what every proxy runs.

use anyhow::bail;
use clap::Args;
use mesh_api::name::Namespace;
use serde_json::Value;

use crate::command::complete;
use crate::command::watch::{Watch, Watched};
use crate::render::{Cell, ListOutput, Rows, Tone, Width, lines, list, time};
use crate::source::cluster::pod::Wanted;
use crate::source::json::{self, items, text, text_or_dash};
use crate::source::origin::Origin;
use crate::source::proxy::hint;

/// Arguments of `meshctl proxy-status`.
#[derive(Debug, Args)]
pub(crate) struct ProxyStatus {
    /// Only this workload, with each of its entries: `namespace/name`, or a name.
    #[arg(value_name = "WORKLOAD", add = complete::workloads())]
    workload: Option<String>,
    /// Only workloads of this namespace.
    #[arg(short, long, value_name = "NS", add = complete::namespaces())]
    namespace: Option<Namespace>,
    #[command(flatten)]
    output: ListOutput,
    #[command(flatten)]
    watch: Watch,
}

/// Prints each proxy with its state: SYNCED, STALE, NACKED or DISCONNECTED.
pub(crate) async fn run(arguments: ProxyStatus, origin: &Origin) -> anyhow::Result<u8> {
    let admin = origin.admin().await?;
    let look = async || {
        let found = arguments.choose(&admin.get("/proxies").await?)?;
        let table = |width| {
            let mut text = proxies(&found, width);
            if arguments.workload.is_some() {
                text.push('\n');
                text.push_str(&entries(&found));
            }
            text
        };
        let names = || {
            items(&found)
                .iter()
                .map(|row| text(row, "workload").to_owned())
                .collect()
        };
        list(arguments.output.format, &found, table, names)
    };
    arguments.watch.show(Watched::WithAges, look).await
}

impl ProxyStatus {
    fn choose(&self, all: &Value) -> anyhow::Result<Value> {
        // Of a Deployment, all its pods.
        let pods = self.workload.as_deref().and_then(Wanted::parse);
        let is_meant = |row: &&Value| {
            let full = text(row, "workload");
            let (namespace, name) = full.split_once('/').unwrap_or_default();
            let is_one_of = || {
                let pods = pods.as_ref();
                pods.is_some_and(|pods| pods.takes(namespace, name))
            };
            self.namespace
                .as_ref()
                .is_none_or(|wanted| wanted.as_str() == namespace)
                && self
                    .workload
                    .as_deref()
                    .is_none_or(|wanted| wanted == full || wanted == name || is_one_of())
        };
        let found: Vec<Value> = items(all).iter().filter(is_meant).cloned().collect();
        if let (Some(wanted), true) = (&self.workload, found.is_empty()) {
            let known: Vec<&str> = items(all).iter().map(|row| text(row, "workload")).collect();
            bail!(
                "no proxy of a workload {wanted:?} is known; {}",
                hint(&known, wanted)
            );
        }
        Ok(Value::Array(found))
    }
}

/// One line per proxy, then every refused entry with its reasons.
fn proxies(found: &Value, width: Width) -> String {
    let mut titles = vec!["WORKLOAD", "STATE", "AGE", "ENTRIES", "IDENTITY", "BUILD"];
    if width == Width::Wide {
        titles.extend(["CERTIFICATE", "ENDS"]);
    }
    let mut rows = Rows::new(&titles);
    let mut refused = Vec::new();
    for proxy in items(found) {
        let entries = json::list(proxy, "entries");
        let age = time::age(proxy["ageSeconds"].as_u64().unwrap_or_default());
        let mut row = vec![
            Cell::from(text_or_dash(proxy, "workload")),
            Cell::state(text_or_dash(proxy, "state")),
            age.into(),
            entries.len().to_string().into(),
            text_or_dash(proxy, "identity").into(),
            text_or_dash(proxy, "build").into(),
        ];
        if width == Width::Wide {
            row.push(
                text_or_dash(proxy, "certificateSerial")
                    .replace(':', "")
                    .into(),
            );
            row.push(end(proxy));
        }
        rows.push(row);
        for entry in entries {
            for fault in json::list(entry, "faults") {
                let (who, what) = (text(proxy, "workload"), text(entry, "name"));
                let (path, reason) = (text(fault, "path"), text(fault, "reason"));
                refused.push(format!("{who} refused {what}: {path}: {reason}"));
            }
        }
    }
    format!("{}{}", rows.to_text(), lines(refused))
}

/// One line per entry, with the versions sent, taken and reported.
fn entries(found: &Value) -> String {
    let mut rows = Rows::new(&["ENTRY", "STATE", "SENT", "TAKEN", "RUNNING"]);
    for proxy in items(found) {
        for entry in json::list(proxy, "entries") {
            let version = |field| short(entry[field].as_str());
            let is_taken = entry["sent"] == entry["acked"] || entry["sent"] == "absent";
            let state = match json::list(entry, "faults") {
                [] if is_taken => "SYNCED",
                [] => "STALE",
                _ => "NACKED",
            };
            rows.push([
                Cell::from(text(entry, "name")),
                Cell::state(state),
                version("sent"),
                version("acked"),
                version("running"),
            ]);
        }
    }
    rows.to_text()
}

/// When the certificate it reported ends.
fn end(proxy: &Value) -> Cell {
    let now = time::now();
    match proxy["certificateNotAfter"].as_i64() {
        Some(end) if end <= now => Cell::toned(time::until(end, now), Tone::Bad),
        Some(end) => time::until(end, now).into(),
        None => "-".into(),
    }
}

/// The start of a version, enough to tell two apart.
fn short(version: Option<&str>) -> Cell {
    version.map_or_else(
        || "-".into(),
        |text| text.chars().take(8).collect::<String>().into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_follow_the_table() {
        let found = json!([{
            "workload": "demo/a", "state": "NACKED", "ageSeconds": 61, "identity": "x", "build": "1",
            "entries": [{
                "name": "destination/demo/b:80", "sent": "0123456789", "acked": null, "running": null,
                "faults": [{"path": "backends", "reason": "is empty"}],
            }],
        }]);
        let table = proxies(&found, Width::Narrow);
        assert!(
            table.ends_with("demo/a refused destination/demo/b:80: backends: is empty\n"),
            "{table}"
        );
        assert!(table.contains("1m1s"), "{table}");
        let entries = entries(&found);
        assert!(entries.contains("01234567"), "{entries}");
        assert!(!entries.contains("0123456789"), "{entries}");
    }
}
