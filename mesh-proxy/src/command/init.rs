//! `mesh-proxy init`: the rules of capture, written into the network of this process.

use mesh_api::pod::Exclusions;

use super::{Done, log};
use crate::capture::{Rules, apply};

/// Writes the rules of a pod.
pub(super) fn run(arguments: &[String]) -> Done {
    log();
    let exclusions = Exclusions::from_arguments(arguments).map_err(|faults| {
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        texts.join("; ")
    })?;
    apply(&Rules::of_pod(&exclusions).text())?;
    tracing::info!(
        outbound_ports = ?exclusions.outbound_ports,
        inbound_ports = ?exclusions.inbound_ports,
        outbound_ranges = ?exclusions.outbound_ranges,
        "TCP of this pod is redirected to its proxy; left alone are UDP and the ports and ranges named here"
    );
    Ok(())
}
