//! The sidecar's bootstrap file, as `meshctl run` writes it.

use mesh_proxy::bootstrap::{AccessLog, Bootstrap, JoinTokenSource, Registration};

use super::Settled;
use super::capture::Capture;

/// Longest path of a Unix socket, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// The bootstrap of a settled workload.
pub(super) fn of(settled: &Settled) -> Bootstrap {
    let mut bootstrap = Bootstrap::new(
        settled.name.clone(),
        settled.service_account.clone(),
        settled.address,
        &settled.own,
    );
    bootstrap.identity_dir = settled.memory.join("identity");
    if bootstrap.admin_socket.as_os_str().len() > MAX_SOCKET_PATH {
        bootstrap.admin_socket = settled.memory.join("admin.sock");
    }
    bootstrap.control = settled.control.map(|address| address.to_string());
    bootstrap.join_token = Some(JoinTokenSource::new(settled.token.clone()));
    bootstrap.upstreams.clone_from(&settled.upstreams);
    bootstrap.forward_proxy = settled.forward_proxy;
    bootstrap.capture = settled.capture.as_ref().map(Capture::listeners);
    bootstrap.access_log = AccessLog::File(settled.access_log.clone());
    bootstrap.registration = Some(Registration {
        labels: settled.labels.clone(),
        ports: settled.ports.clone(),
        tunnel_port: settled.tunnel_port,
        ..Registration::default()
    });
    bootstrap
}
