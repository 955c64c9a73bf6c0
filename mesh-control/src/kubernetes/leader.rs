//! Which of the replicas writes to the API server: the holder of a Lease. May use `kubernetes`.

use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use mesh_api::name::Namespace;
use tokio::sync::watch;

use crate::kubernetes::backoff::Backoff;
use crate::telemetry::{self, Trouble};

/// Seeks the lead for as long as it runs, and tells `leads`; never returns.
///
/// When `stopping` turns true the lead is given up at once, so that another replica need not wait
/// for it to lapse.
pub async fn seek(
    client: Client,
    namespace: Namespace,
    leads: watch::Sender<bool>,
    mut stopping: watch::Receiver<bool>,
) {
    let identity = std::env::var_os("POD_NAME")
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("mesh-control-{:016x}", fastrand::u64(..)));
    let mut backoff = Backoff::default();
    let mut trouble = Trouble::default();
    loop {
        let manager = LeaseManagerBuilder::new(client.clone(), LEASE)
            .with_namespace(namespace.as_str())
            .with_identity(identity.clone())
            .with_field_manager(format!("mesh-control-{identity}"))
            .with_duration(LASTS)
            .with_grace(GRACE)
            .build()
            .await;
        let failure = match manager {
            Ok(manager) => loop {
                let changed = tokio::select! {
                    changed = manager.changed() => Some(changed),
                    () = until_stopped(&mut stopping) => None,
                };
                let Some(changed) = changed else {
                    leads.send_replace(false);
                    if let Err(error) = manager.release().await {
                        tracing::debug!(%error, "the lead was not given up");
                    }
                    return std::future::pending().await;
                };
                match changed {
                    Ok(is_leader) => {
                        backoff.reset();
                        trouble.end(LEAD);
                        leads.send_replace(is_leader);
                        telemetry::record_lead(is_leader, &identity);
                    }
                    Err(error) => break error.to_string(),
                }
            },
            Err(error) => error.to_string(),
        };
        leads.send_replace(false);
        trouble.note(LEAD, &failure);
        tokio::time::sleep(backoff.next(fastrand::f64())).await;
    }
}

async fn until_stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

const LEAD: &str = "the lead among replicas";
const LEASE: &str = "mesh-control";
/// Seconds that a lead lasts without being renewed.
const LASTS: u64 = 15;
/// Seconds before its end at which it is renewed.
const GRACE: u64 = 5;
