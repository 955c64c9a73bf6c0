//! Which listeners the bootstrap and the configuration in force ask for.

use std::net::SocketAddr;

use mesh_api::name::DestinationName;
use mesh_api::snapshot::Snapshot;

use super::Wanted;
use crate::bootstrap::Bootstrap;
use crate::worker::Role;

/// The port of the tunnel where no registration says otherwise.
const TUNNEL_PORT: u16 = 15008;

/// The listeners of a proxy: its explicit outbound ones, the forward proxy, its tunnel, and each
/// port of its workload, or in place of those the ones that the system redirects to. `resolve` names the destination of an explicit listener.
pub fn wanted(
    bootstrap: &Bootstrap,
    snapshot: &Snapshot,
    resolve: impl Fn(&str, u16) -> Option<DestinationName>,
) -> Wanted {
    let mut wanted = Wanted::new();
    for upstream in &bootstrap.upstreams {
        if let Some(name) = resolve(&upstream.host, upstream.port) {
            wanted.insert(upstream.listen, Role::Outbound(name));
        }
    }
    if let Some(address) = bootstrap.forward_proxy {
        wanted.insert(address, Role::ForwardProxy);
    }
    let workload = &bootstrap.workload;
    let entry = snapshot.inbound.get(workload);
    let registered = bootstrap
        .registration
        .as_ref()
        .map(|registration| registration.tunnel_port);
    let tunnel = entry.map(|entry| entry.tunnel_port.number()).or(registered);
    for address in bootstrap.addresses() {
        let tunnel = SocketAddr::new(address, tunnel.unwrap_or(TUNNEL_PORT));
        wanted.insert(tunnel, Role::Tunnel(workload.clone()));
    }
    if let Some(capture) = &bootstrap.capture {
        for address in &capture.outbound {
            wanted.insert(*address, Role::CapturedOutbound);
        }
        for address in &capture.inbound {
            wanted.insert(*address, Role::CapturedInbound(workload.clone()));
        }
        // The app listens on its ports itself.
        return wanted;
    }
    for port in entry.map_or(&[][..], |entry| &entry.ports) {
        let address = SocketAddr::new(bootstrap.address, port.port.number());
        let role = Role::Inbound {
            workload: workload.clone(),
            port: port.port,
        };
        wanted.entry(address).or_insert(role);
    }
    wanted
}
