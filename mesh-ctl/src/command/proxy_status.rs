//! `meshctl proxy-status`: what every proxy runs.

use serde_json::Value;

use crate::render::{Output, Rows, show};
use crate::source::admin::Admin;
use crate::source::state::StateArg;

/// Prints each proxy with its state: SYNCED, STALE, NACKED or DISCONNECTED.
pub(crate) async fn run(output: Output, state: &StateArg) -> anyhow::Result<u8> {
    let proxies = Admin::of(&state.folder()?).get("/proxies").await?;
    show(output, &proxies, || table(&proxies))?;
    Ok(0)
}

/// One line per proxy, then every refused entry with its reasons.
fn table(proxies: &Value) -> String {
    let mut rows = Rows::new(&["WORKLOAD", "STATE", "AGE", "ENTRIES", "IDENTITY", "BUILD"]);
    let mut refused = Vec::new();
    let list = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("-").to_owned();
    for proxy in proxies.as_array().into_iter().flatten() {
        let entries = list(proxy, "entries");
        rows.push([
            text(proxy, "workload"),
            text(proxy, "state"),
            format!("{}s", proxy["ageSeconds"]),
            entries.len().to_string(),
            text(proxy, "identity"),
            text(proxy, "build"),
        ]);
        for entry in &entries {
            for fault in list(entry, "faults") {
                let (who, what) = (text(proxy, "workload"), text(entry, "name"));
                let (path, reason) = (text(&fault, "path"), text(&fault, "reason"));
                refused.push(format!("{who} refused {what}: {path}: {reason}\n"));
            }
        }
    }
    format!("{}{}", rows.to_text(), refused.concat())
}
