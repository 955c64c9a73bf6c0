//! The sockets a proxy listens on as JSON, each with what asks for it.

use mesh_api::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::bootstrap::Bootstrap;

/// Where the tunnel listens if nothing says otherwise.
const TUNNEL_PORT: u16 = 15008;

/// Every listener: those of the bootstrap, then those of the receiving side in force.
pub(super) fn listeners(bootstrap: &Bootstrap, snapshot: &Snapshot) -> Value {
    let mut all = Vec::new();
    for (index, upstream) in bootstrap.upstreams.iter().enumerate() {
        let target = format!("{}:{}", upstream.host, upstream.port);
        let origin = format!("bootstrap upstreams[{index}]");
        all.push(json!({
            "kind": "outbound", "address": upstream.listen, "upstream": target, "origin": origin,
        }));
    }
    if let Some(address) = bootstrap.forward_proxy {
        let origin = "bootstrap forwardProxy";
        all.push(json!({ "kind": "forwardProxy", "address": address, "origin": origin }));
    }
    if let Some(capture) = &bootstrap.capture {
        for (side, addresses) in [
            ("outbound", &capture.outbound),
            ("inbound", &capture.inbound),
        ] {
            let origin = format!("bootstrap capture.{side}");
            let captured = addresses.iter().map(|address| {
                json!({ "kind": "capture", "address": address, "side": side, "origin": origin })
            });
            all.extend(captured);
        }
    }
    all.extend(inbound(bootstrap, snapshot));
    if let Some(address) = bootstrap.observe {
        all.push(json!({ "kind": "observe", "address": address, "origin": "bootstrap observe" }));
    }
    let origin = "bootstrap adminSocket";
    all.push(json!({ "kind": "admin", "address": bootstrap.admin_socket, "origin": origin }));
    Value::Array(all)
}

/// The tunnel, and each port of the workload.
fn inbound(bootstrap: &Bootstrap, snapshot: &Snapshot) -> Vec<Value> {
    let entry = snapshot.inbound.get(&bootstrap.workload);
    let own = format!("Workload {}", bootstrap.workload);
    let registered = bootstrap.registration.as_ref().map(|held| held.tunnel_port);
    let (tunnel, origin) = match (entry, registered) {
        (Some(entry), _) => (entry.tunnel_port.number(), format!("{own} spec.tunnelPort")),
        (None, Some(port)) => (port, "bootstrap registration.tunnelPort".to_owned()),
        (None, None) => (TUNNEL_PORT, "default".to_owned()),
    };
    let at = |port: u16| format!("{}:{port}", bootstrap.address);
    let mut all = vec![json!({ "kind": "tunnel", "address": at(tunnel), "origin": origin })];
    for port in entry.map_or(&[][..], |entry| &entry.ports) {
        all.push(json!({
            "kind": "inbound",
            "address": at(port.port.number()),
            "protocol": port.protocol.as_str(),
            "services": port.services,
            "origin": format!("{own} spec.ports"),
        }));
    }
    all
}
