//! The future that talks to the control plane: connects, keeps one stream, and starts over with a
//! jittered wait whenever it breaks.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::model::entry::EntryName;
use mesh_api::wire::generated::{Batch, Fault, Refusal};

use crate::bootstrap::Bootstrap;
use crate::config::Shared;
use crate::config::apply::{Held, Outcome};
use crate::config::connect::{self, Trust};
use crate::config::credential::{self, Proof};
use crate::config::last_good::LastGood;
use crate::config::lease::Lease;
use crate::config::session::{Session, SessionError};
use crate::config::status::{EntryState, EntryStatus};
use crate::telemetry::{ConfigApplied, ControlLost, EntryRefused};

/// Waits between streams, first and largest.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Answers an admin request by path and body, as the admin socket does.
pub type AdminHandler = Arc<dyn Fn(&str, &[u8]) -> AdminAnswer + Send + Sync>;

/// An answer to an admin request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAnswer {
    /// As in HTTP.
    pub status: u16,
    /// JSON, or text for metrics.
    pub body: Vec<u8>,
}

/// The one task that talks to the control plane.
pub struct ControlTask {
    pub(super) shared: Arc<Shared>,
    pub(super) held: Held,
    pub(super) folder: PathBuf,
    pub(super) is_dirty: bool,
    last_good: LastGood,
    proof: Option<Proof>,
    lease: Option<Lease>,
    keeps_lease: bool,
}

impl ControlTask {
    /// Puts in force what is on disk.
    pub(super) fn new(shared: Arc<Shared>, bootstrap: &Bootstrap, proof: Option<Proof>) -> Self {
        let mut task = Self {
            shared,
            held: Held::default(),
            folder: bootstrap.identity_dir.clone(),
            is_dirty: false,
            last_good: LastGood::new(&bootstrap.state_dir, &bootstrap.workload),
            proof,
            lease: Lease::of(bootstrap),
            keeps_lease: bootstrap.registration.is_some(),
        };
        task.restore();
        task
    }

    /// Runs until it is dropped. Needs a tokio runtime with I/O and time; compiles snapshots there.
    pub async fn run(mut self, admin: AdminHandler) {
        let shared = Arc::clone(&self.shared);
        let renewal = credential::keep_renewed(Arc::clone(&shared), self.folder.clone());
        let lease = self.lease.take();
        let lease = async {
            if let Some(lease) = lease {
                lease.keep(shared).await;
            }
        };
        tokio::join!(self.keep_stream(admin), renewal, lease);
    }

    async fn keep_stream(&mut self, admin: AdminHandler) {
        let Some(address) = self.shared.control.clone() else {
            return;
        };
        let mut wait = RECONNECT.0;
        loop {
            let mut was_served = false;
            let error = self.stream(&address, &admin, &mut was_served).await;
            self.lost(&address, &error);
            if was_served {
                wait = RECONNECT.0;
            }
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            wait = (wait * 2).min(RECONNECT.1);
        }
    }

    /// One stream from its start to its end.
    async fn stream(
        &mut self,
        address: &str,
        admin: &AdminHandler,
        was_served: &mut bool,
    ) -> SessionError {
        if !credential::is_usable(&self.shared) {
            let Some(proof) = &self.proof else {
                return SessionError::Expired;
            };
            let joined = credential::join(&self.shared, address, proof, &self.folder).await;
            if let Err(error) = joined {
                return error.into();
            }
        }
        let trust = Trust::Own(self.shared.identity.clone());
        let channel = match connect::connect(address, trust).await {
            Ok(channel) => channel,
            Err(error) => return error.into(),
        };
        let session = match Session::open(self, channel.clone()).await {
            Ok(session) => session,
            Err(error) => return error,
        };
        self.shared.channel.send_replace(Some(channel));
        {
            // What is in force was offered with its versions: no batch means that it is current.
            let mut facts = self.shared.facts();
            facts.connected = true;
            facts.from_disk = false;
        }
        self.shared.telemetry.control_connected(address);
        let opened = Instant::now();
        let error = session.run(self, admin).await;
        *was_served |= opened.elapsed() > RECONNECT.1;
        error
    }

    fn lost(&mut self, address: &str, reason: &SessionError) {
        self.shared.channel.send_replace(None);
        {
            let mut facts = self.shared.facts();
            facts.connected = false;
            facts.last_error = Some(reason.to_string());
        }
        let event = ControlLost { address, reason };
        self.shared.telemetry.control_lost(&event);
        self.save();
    }

    /// Applies `batch` as one, and returns what was refused.
    pub(super) fn apply(&mut self, mut batch: Batch) -> Vec<Refusal> {
        if self.keeps_lease {
            // The own inbound side goes with the lease, but what peers sent meanwhile is served.
            let own = EntryName::Inbound(self.shared.workload.clone()).to_string();
            batch.remove.retain(|name| *name != own);
        }
        let shared = Arc::clone(&self.shared);
        let current = shared.cell.load();
        let outcome = {
            let interest = shared.interest();
            self.held
                .apply(&current, batch, |name| interest.contains(name))
        };
        self.note_interest(&outcome);
        let refusals = self.note_refused(&outcome);
        let (upserted, removed) = (outcome.taken.len(), outcome.removed.len());
        self.is_dirty |= upserted + removed + refusals.len() > 0;
        let generation = shared.put_in_force(outcome.snapshot);
        shared.telemetry.config_applied(&ConfigApplied {
            generation,
            upserted,
            removed,
        });
        refusals
    }

    /// Drops what fell out of the bound on unanswered names.
    pub(super) fn forget(&mut self, names: &[EntryName]) {
        if names.is_empty() {
            return;
        }
        let mut snapshot = (*self.shared.cell.load()).clone();
        for name in names {
            self.held.forget(name);
            self.shared.facts().entries.remove(name);
            match name {
                EntryName::Destination(name) => drop(snapshot.destinations.remove(name)),
                EntryName::Address(address) => drop(snapshot.addresses.remove(address)),
                EntryName::Mesh | EntryName::Inbound(_) => {}
            }
        }
        self.shared.put_in_force(snapshot);
    }

    /// Writes the last good state, if it changed since.
    pub(super) fn save(&mut self) {
        if !std::mem::take(&mut self.is_dirty) {
            return;
        }
        if let Err(error) = self.last_good.save(&self.held.batch()) {
            tracing::error!(error = %connect::chain(&error), "last good configuration not saved");
        }
    }

    fn restore(&mut self) {
        let batch = match self.last_good.load() {
            Ok(Some(batch)) => batch,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = %connect::chain(&error), "last good configuration not used");
                return;
            }
        };
        {
            // What was used before is asked for at once.
            let names = batch
                .upsert
                .iter()
                .filter_map(|entry| entry.name.parse().ok());
            let own = EntryName::Inbound(self.shared.workload.clone());
            let ours = |name: &EntryName| !matches!(name, EntryName::Inbound(_)) || *name == own;
            let mut interest = self.shared.interest();
            names.filter(ours).for_each(|name| interest.pin(name));
        }
        self.apply(batch);
        self.is_dirty = false;
        self.shared.facts().from_disk = true;
    }

    fn note_interest(&self, outcome: &Outcome) {
        let mut interest = self.shared.interest();
        for (name, _) in &outcome.taken {
            interest.present(name);
        }
        for name in &outcome.removed {
            interest.absent(name);
        }
    }

    fn note_refused(&self, outcome: &Outcome) -> Vec<Refusal> {
        let mut facts = self.shared.facts();
        for (name, version) in &outcome.taken {
            let status = EntryStatus {
                state: EntryState::Held,
                version: version.clone(),
                ..EntryStatus::default()
            };
            facts.entries.insert(name.clone(), status);
        }
        for name in &outcome.removed {
            let status = EntryStatus {
                state: EntryState::Absent,
                ..EntryStatus::default()
            };
            facts.entries.insert(name.clone(), status);
        }
        let mut refusals = Vec::new();
        for refused in &outcome.refused {
            self.shared.telemetry.entry_refused(&EntryRefused {
                name: &refused.text,
                faults: &refused.faults,
            });
            if let Some(name) = &refused.name {
                let status = facts.entries.entry(name.clone()).or_default();
                status.refuse(&refused.version, &refused.faults);
                status.version = self.held.version(name);
            }
            let fault = |invalid: &mesh_api::error::Invalid| Fault {
                path: invalid.path.clone(),
                reason: invalid.reason.clone(),
            };
            refusals.push(Refusal {
                name: refused.text.clone(),
                version: refused.version.clone(),
                faults: refused.faults.iter().map(fault).collect(),
            });
        }
        refusals
    }
}

impl fmt::Debug for ControlTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlTask").finish_non_exhaustive()
    }
}
