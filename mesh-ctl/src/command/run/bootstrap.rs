//! The sidecar's bootstrap file, as `meshctl run` writes it.

use serde_json::{Value, json};

use super::Settled;

/// The bootstrap of a settled workload.
pub(super) fn of(settled: &Settled) -> Value {
    json!({
        "workload": settled.name.to_string(),
        "serviceAccount": settled.service_account.as_str(),
        "labels": settled.labels,
        "ports": settled.ports,
        "address": settled.address,
        "tunnelPort": settled.tunnel_port,
        "upstreams": settled.upstreams.iter().map(|upstream| json!({
            "destination": upstream.key,
            "listen": upstream.value,
        })).collect::<Vec<_>>(),
        "forwardProxy": settled.forward_proxy,
        "token": settled.token,
        "control": settled.control,
        "accessLog": settled.access_log,
        "state": settled.folder,
    })
}
