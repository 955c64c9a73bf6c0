//! What the control plane logs: lifecycle at info, what was refused at warn. May use nothing of
//! this crate.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error; `MESH_LOG` filters them, `info` by default.
///
/// Does nothing if the process already has a subscriber.
pub fn install() {
    // What the client says, we say ourselves: once per change, not at every try.
    let filter = EnvFilter::try_from_env("MESH_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,kube_runtime=off"));
    let result = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    if result.is_err() {
        tracing::debug!("a subscriber is installed already");
    }
}

/// The control plane listens.
pub(crate) fn record_started(listen: std::net::SocketAddr, resources: usize, leases: usize) {
    tracing::info!(%listen, resources, leases, "control plane started");
}

/// A resource, document or file was refused.
pub(crate) fn record_refused(place: &str, fault: &str) {
    tracing::warn!(place, fault, "refused");
}

/// New content was published.
pub(crate) fn record_published(changed: usize, subscribed: usize) {
    tracing::debug!(changed, subscribed, "published");
}

/// A proxy connected.
pub(crate) fn record_connected(workload: &str, identity: &str, build: &str) {
    tracing::info!(workload, identity, build, "proxy connected");
}

/// A proxy's stream ended.
pub(crate) fn record_disconnected(workload: &str, reason: &str) {
    tracing::info!(workload, reason, "proxy disconnected");
}

/// A proxy refused an entry.
pub(crate) fn record_nack(workload: &str, entry: &str, faults: &str) {
    tracing::warn!(workload, entry, faults, "proxy refused an entry");
}

/// A certificate was issued.
pub(crate) fn record_issued(identity: &str, serial: &str) {
    tracing::info!(identity, serial, "certificate issued");
}

/// Part of the background work failed and is tried again.
pub(crate) fn record_failure(what: &str, error: &str) {
    tracing::error!(what, error, "failed; trying again");
}

/// Background work that is tried again and again: what keeps it from working is said once, and again when
/// that is something else.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<String>);

impl Trouble {
    /// It failed.
    pub(crate) fn note(&mut self, what: &str, error: &str) {
        if self.0.as_deref() == Some(error) {
            tracing::debug!(what, error, "failed again; trying again");
        } else {
            record_failure(what, error);
            self.0 = Some(error.to_owned());
        }
    }

    /// It worked.
    pub(crate) fn end(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!(what, "works again");
        }
    }
}

/// The trust domain stays, whatever an installation asks for.
pub(crate) fn record_trust_domain_kept(kept: &str, wanted: &str) {
    tracing::warn!(
        kept,
        wanted,
        "the trust domain stays: certificates and peers carry it; for another one, install a mesh anew"
    );
}

/// The API server cannot be followed now.
pub(crate) fn record_watch_failed(what: &str, reason: &str) {
    tracing::warn!(what, reason, "watch failed; trying again");
}

/// The API server is followed again.
pub(crate) fn record_watch_works(what: &str) {
    tracing::info!(what, "watch works again");
}

/// A kind of the cluster is followed from now on.
pub(crate) fn record_followed(kind: &str, version: &str) {
    tracing::info!(kind, version, "following");
}

/// A kind is installed, but not in the version that is read.
pub(crate) fn record_kind_outdated(definition: &str, version: &str) {
    tracing::warn!(
        definition,
        version,
        "installed, but not served in this version, so its objects are not read: install a release \
         that serves it (Gateway API 1.6 or later, or `meshctl install` for kinds of ours)"
    );
}

/// A start waits for the cluster.
pub(crate) fn record_waiting(what: &str, reason: &str) {
    tracing::warn!(
        what,
        reason,
        "waiting for the first list; nobody is served before"
    );
}

/// This replica leads now, or does no more.
pub(crate) fn record_lead(leads: bool, identity: &str) {
    tracing::info!(leads, identity, "lead among replicas");
}

/// Webhooks were told our roots.
pub(crate) fn record_bundle(name: &str) {
    tracing::info!(name, "webhook configuration has the roots");
}
