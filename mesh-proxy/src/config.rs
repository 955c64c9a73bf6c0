//! Configuration from the control plane to the workers: the stream, the last good state on disk,
//! the swap, and what keeps the proxy's identity and lease alive.
//!
//! [`Config`] is the handle that every thread holds; [`ControlTask`] is the one future that talks to
//! the control plane, on the control thread's runtime. May use `telemetry`, `bootstrap`, `identity`.

mod apply;
mod cell;
mod connect;
mod credential;
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated from proto/mesh.proto"
)]
#[rustfmt::skip]
pub mod generated;
mod interest;
mod last_good;
mod lease;
mod session;
mod status;
mod task;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_api::decide::destination::{Resolution, resolve};
use mesh_api::model::entry::EntryName;
use mesh_api::model::mesh::{MeshFacts, UnknownDestinations};
use mesh_api::name::{DestinationName, Name, Namespace, ObjectName};
use mesh_api::snapshot::Snapshot;
use tokio::sync::{Notify, watch};
use tonic::transport::Channel;

pub use crate::config::cell::{Reader, SnapshotCell};
pub use crate::config::status::{EntryState, EntryStatus, LeaseStatus, Status};
pub use crate::config::task::{AdminAnswer, AdminHandler, ControlTask};

use crate::bootstrap::{Bootstrap, TokenUnreadable};
use crate::config::credential::Proof;
use crate::config::interest::Interest;
use crate::identity::{self, IdentityCell};
use crate::telemetry::Telemetry;

/// The configuration in force, and the way to ask for more. Clones share it.
#[derive(Clone, Debug)]
pub struct Config {
    shared: Arc<Shared>,
}

/// Configuration could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The join token cannot be had.
    #[error(transparent)]
    Token(#[from] TokenUnreadable),
    /// There is no certificate, and no way to get one.
    #[error(
        "no certificate in {}, and no join token to get one with",
        folder.display()
    )]
    NoIdentity {
        /// The identity's folder.
        folder: PathBuf,
    },
}

#[derive(Debug)]
struct Shared {
    workload: ObjectName,
    service_account: Name,
    control: Option<String>,
    cell: Arc<SnapshotCell>,
    /// The generation in force, for those who wait for a change.
    changed: watch::Sender<u64>,
    identity: IdentityCell,
    telemetry: Arc<Telemetry>,
    interest: Mutex<Interest>,
    /// Rings when `interest` changed.
    asked: Notify,
    /// Rings when the certificate should be renewed before its time.
    renew: Notify,
    /// The connection in use.
    channel: watch::Sender<Option<Channel>>,
    /// True once the lease is given back for good.
    lease_ended: watch::Sender<bool>,
    facts: Mutex<Facts>,
}

/// What [`Config::status`] tells besides the subscriptions.
#[derive(Debug, Default)]
struct Facts {
    connected: bool,
    last_error: Option<String>,
    from_disk: bool,
    entries: BTreeMap<EntryName, EntryStatus>,
    lease: LeaseStatus,
}

impl Config {
    /// Reads identity and last good configuration from disk, and subscribes to what `bootstrap`
    /// names. Nothing is dialled before the task runs.
    ///
    /// # Errors
    /// The join token is unreadable, or there is neither token nor certificate. A damaged last good
    /// state or certificate is reported and replaced.
    pub fn open(
        bootstrap: &Bootstrap,
        telemetry: Arc<Telemetry>,
    ) -> Result<(Self, ControlTask), ConfigError> {
        let credentials = identity::load(&bootstrap.identity_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "certificate on disk not usable; joining anew");
            None
        });
        let credentials = credentials.filter(|held| belongs(held.identity(), bootstrap));
        let token = match &bootstrap.join_token {
            Some(source) => match source.read() {
                Ok(token) => Some(token),
                Err(error) if credentials.is_none() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(%error, "join token not usable; the certificate on disk serves");
                    None
                }
            },
            None => None,
        };
        let pods = bootstrap.service_account_token.as_ref();
        if token.is_none() && pods.is_none() && credentials.is_none() {
            let folder = bootstrap.identity_dir.clone();
            return Err(ConfigError::NoIdentity { folder });
        }
        if let Some(credentials) = &credentials {
            telemetry.certificate(credentials.not_after());
        }
        let claimed = token.as_ref().map(|token| token.claims.control.clone());
        let shared = Arc::new(Shared {
            workload: bootstrap.workload.clone(),
            service_account: bootstrap.service_account.clone(),
            control: bootstrap.control.clone().or(claimed),
            cell: Arc::default(),
            changed: watch::channel(0).0,
            identity: IdentityCell::new(credentials),
            telemetry,
            interest: Mutex::new(first_interest(bootstrap)),
            asked: Notify::new(),
            renew: Notify::new(),
            channel: watch::channel(None).0,
            lease_ended: watch::channel(false).0,
            facts: Mutex::default(),
        });
        let proof = match (token, pods) {
            (Some(token), _) => Some(Proof::Token(Box::new(token))),
            (None, pods) => pods.cloned().map(Proof::ServiceAccount),
        };
        let task = ControlTask::new(Arc::clone(&shared), bootstrap, proof);
        Ok((Self { shared }, task))
    }

    /// A worker's view of the snapshot in force.
    pub fn reader(&self) -> Reader {
        self.shared.cell.reader()
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.cell.load()
    }

    /// The workload's credentials, kept current.
    pub fn identity(&self) -> &IdentityCell {
        &self.shared.identity
    }

    /// Whose proxy this is.
    pub fn workload(&self) -> &ObjectName {
        &self.shared.workload
    }

    /// The namespace names are resolved from: the workload's.
    pub fn namespace(&self) -> &Namespace {
        &self.shared.workload.namespace
    }

    /// The destination that `host` and `port` mean to the workload, or `None` for what can only be
    /// outside the mesh.
    pub fn destination_of(&self, host: &str, port: u16) -> Option<DestinationName> {
        let snapshot = self.snapshot();
        let facts = snapshot.mesh.as_deref().cloned().or_else(usual_facts)?;
        match resolve(&facts, self.namespace(), host, port) {
            Resolution::Service(name) => Some(name),
            Resolution::Outside => None,
        }
    }

    /// The recorder configuration reports to.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.shared.telemetry
    }

    /// The generation in force, as a receiver that is told of each change.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Asks for a destination; cheap if it was asked for before. Names that no entry answers are
    /// kept up to 4,096; the least recently asked goes first.
    pub fn subscribe(&self, name: DestinationName) {
        self.ask(&EntryName::Destination(name));
    }

    fn ask(&self, name: &EntryName) {
        if self.shared.interest().ask(name) {
            self.shared.asked.notify_one();
        }
    }

    /// Asks for `name` and waits until something is known of it, at most `wait`; returns the
    /// snapshot in force then.
    pub async fn known(&self, name: &DestinationName, wait: Duration) -> Arc<Snapshot> {
        self.subscribe(name.clone());
        self.until(wait, |snapshot| snapshot.destinations.contains_key(name))
            .await
    }

    /// As [`Config::known`], for a virtual IP and port.
    pub async fn known_address(&self, address: SocketAddr, wait: Duration) -> Arc<Snapshot> {
        self.ask(&EntryName::Address(address));
        self.until(wait, |snapshot| snapshot.addresses.contains_key(&address))
            .await
    }

    /// Waits until the mesh's facts are known, at most `wait`.
    pub async fn known_mesh(&self, wait: Duration) -> Arc<Snapshot> {
        self.until(wait, |snapshot| snapshot.mesh.is_some()).await
    }

    /// The snapshot in force once it is `enough`, at the latest after `wait`.
    async fn until(&self, wait: Duration, enough: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut changes = self.watch();
        let answered = async {
            loop {
                changes.borrow_and_update();
                let snapshot = self.snapshot();
                if enough(&snapshot) || changes.changed().await.is_err() {
                    return snapshot;
                }
            }
        };
        match tokio::time::timeout(wait, answered).await {
            Ok(snapshot) => snapshot,
            Err(_) => self.snapshot(),
        }
    }

    /// Gives the workload's lease back, so that peers stop sending here; waits for the answer, at
    /// most two seconds. Nothing happens where no lease is kept.
    pub async fn deregister(&self) {
        lease::end(&self.shared).await;
    }

    /// What is held, refused and asked for.
    pub fn status(&self) -> Status {
        let names = self.shared.interest().all();
        let facts = self.shared.facts();
        let entry = |name: EntryName| {
            let status = facts.entries.get(&name).cloned();
            (name.to_string(), status.unwrap_or_default())
        };
        Status {
            control: self.shared.control.clone(),
            connected: facts.connected,
            last_error: facts.last_error.clone(),
            from_disk: facts.from_disk,
            generation: self.shared.cell.generation(),
            entries: names.into_iter().map(entry).collect(),
            registration: facts.lease.clone(),
        }
    }
}

impl Shared {
    fn interest(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_in_force(&self, snapshot: Snapshot) -> u64 {
        let generation = self.cell.swap(Arc::new(snapshot));
        self.changed.send_replace(generation);
        generation
    }
}

/// Certificates of another workload in the folder are not ours to use.
fn belongs(identity: &mesh_api::name::Identity, bootstrap: &Bootstrap) -> bool {
    let ours = identity.namespace == bootstrap.workload.namespace
        && identity.service_account == bootstrap.service_account;
    if !ours {
        tracing::warn!(%identity, workload = %bootstrap.workload, "certificate on disk is of another identity; joining anew");
    }
    ours
}

/// What is asked for at once: the mesh's facts, the own inbound side, the configured upstreams.
fn first_interest(bootstrap: &Bootstrap) -> Interest {
    let mut interest = Interest::default();
    interest.pin(EntryName::Mesh);
    interest.pin(EntryName::Inbound(bootstrap.workload.clone()));
    let Some(facts) = usual_facts() else {
        return interest;
    };
    for upstream in &bootstrap.upstreams {
        let namespace = &bootstrap.workload.namespace;
        match resolve(&facts, namespace, &upstream.host, upstream.port) {
            Resolution::Service(name) => interest.pin(EntryName::Destination(name)),
            Resolution::Outside => {}
        }
    }
    interest
}

/// Facts good enough to read a Service's name before the mesh's own arrive. A name under another
/// cluster domain is asked for when it is first dialled.
fn usual_facts() -> Option<MeshFacts> {
    Some(MeshFacts {
        trust_domain: "cluster.local".parse().ok()?,
        trust_domain_aliases: Vec::new(),
        cluster_domain: "cluster.local".parse().ok()?,
        ranges: Vec::new(),
        unknown_destinations: UnknownDestinations::Allow,
    })
}

/// Saves `batch` as the last good state of `bootstrap`'s workload.
#[cfg(test)]
pub(crate) fn save_last_good(bootstrap: &Bootstrap, batch: &mesh_api::wire::generated::Batch) {
    let last_good = last_good::LastGood::new(&bootstrap.state_dir, &bootstrap.workload);
    last_good.save(batch).unwrap();
}
