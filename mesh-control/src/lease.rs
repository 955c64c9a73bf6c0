//! Leases of workloads that register themselves: a pure state machine, and its files.
//!
//! A registration lives one lifetime past its last refresh. When over half of a service's
//! registrations lapse within one lifetime the fault is likelier ours than theirs, so they are kept
//! and marked stale. Time is an argument. May use `state` and `error`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mesh_api::error::{Faults, Invalid};
use mesh_api::model::workload::Workload;
use mesh_api::name::{Identity, Name, ObjectName, Port};
use mesh_api::wire::generated as wire;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::state::{self, hexadecimal};

/// A workload as it registered itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Its name.
    pub workload: ObjectName,
    /// The caller's service account.
    pub service_account: Name,
    /// Where peers reach it.
    pub address: IpAddr,
    /// Services select it by these.
    pub labels: BTreeMap<String, String>,
    /// The app's ports by the Service's port name.
    pub ports: BTreeMap<String, Port>,
    /// Where its tunnel listens.
    pub tunnel_port: Port,
    /// Relative share, 1 to 10,000.
    pub weight: u32,
}

impl Registration {
    /// Checks a request of the caller `identity`.
    ///
    /// # Errors
    /// Every fault of the request, with the field's path.
    pub fn check(
        request: wire::RegisterRequest,
        identity: &Identity,
    ) -> Result<Self, Vec<Invalid>> {
        let mut faults = Faults::default();
        let name: Option<Name> = faults.field("name", |f| f.take(request.name.parse()));
        let address = faults.field("address", |f| check_address(&request.address, f));
        let labels = faults.field("labels", |f| check_labels(request.labels, f));
        let ports = faults.field("ports", |f| check_ports(request.ports, f));
        let tunnel_port = faults.field("tunnel_port", |f| {
            f.take(Port::try_from(request.tunnel_port))
        });
        let weight = match request.weight {
            0 => 100,
            weight => weight,
        };
        if weight > MAX_WEIGHT {
            faults.field("weight", |f| f.refuse(format!("must be 1 to {MAX_WEIGHT}")));
        }
        match (name, address, tunnel_port) {
            (Some(name), Some(address), Some(tunnel_port)) if faults.is_empty() => Ok(Self {
                workload: ObjectName::new(identity.namespace.clone(), name),
                service_account: identity.service_account.clone(),
                address,
                labels,
                ports,
                tunnel_port,
                weight,
            }),
            _ => Err(faults.into_vec()),
        }
    }

    /// As a checked workload.
    pub fn to_workload(&self) -> Workload {
        Workload {
            name: self.workload.clone(),
            labels: self.labels.clone(),
            addresses: vec![self.address],
            ports: self.ports.clone(),
            container_ports: Vec::new(),
            service_account: self.service_account.clone(),
            tunnel_port: Some(self.tunnel_port),
            weight: self.weight,
        }
    }
}

fn check_address(text: &str, faults: &mut Faults) -> Option<IpAddr> {
    let Ok(address) = text.parse::<IpAddr>() else {
        faults.refuse("must be an IP address");
        return None;
    };
    if address.is_unspecified() || address.is_multicast() {
        faults.refuse("must be the address of one workload");
        return None;
    }
    Some(address)
}

fn check_labels(labels: Vec<wire::Label>, faults: &mut Faults) -> BTreeMap<String, String> {
    if labels.len() > MAX_LABELS {
        faults.refuse(format!("at most {MAX_LABELS}"));
        return BTreeMap::new();
    }
    let inner = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/'))
    };
    let mut checked = BTreeMap::new();
    for (index, label) in labels.into_iter().enumerate() {
        let good_key = (1..=317).contains(&label.key.len()) && inner(&label.key);
        let good_value = label.value.len() <= 63 && inner(&label.value);
        if !good_key || !good_value {
            faults.index(index, |f| f.refuse("is not a label"));
        } else if checked.insert(label.key, label.value).is_some() {
            faults.index(index, |f| f.refuse("repeats a key"));
        }
    }
    checked
}

fn check_ports(ports: Vec<wire::NamedPort>, faults: &mut Faults) -> BTreeMap<String, Port> {
    if ports.len() > MAX_PORTS {
        faults.refuse(format!("at most {MAX_PORTS}"));
        return BTreeMap::new();
    }
    let mut checked = BTreeMap::new();
    for (index, port) in ports.into_iter().enumerate() {
        faults.index(index, |f| {
            if port.name.parse::<Name>().is_err() || port.name.len() > 63 {
                f.field("name", |f| f.refuse("is not a port name"));
            }
            let number = f.field("port", |f| f.take(Port::try_from(port.port)));
            if let Some(number) = number
                && checked.insert(port.name, number).is_some()
            {
                f.refuse("repeats a name");
            }
        });
    }
    checked
}

/// What changed for the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There, new or with other content.
    Upsert(Registration),
    /// Gone.
    Delete(ObjectName),
    /// Kept without trust, or trusted again.
    SetStale(ObjectName, bool),
}

/// Why a registration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another service account holds the name.
    #[error("workload {workload} is registered by service account {holder}")]
    Held {
        /// The name.
        workload: ObjectName,
        /// Who has it.
        holder: Name,
    },
    /// Too many registrations.
    #[error("this control plane takes at most {MAX_LEASES} registrations")]
    Full,
}

/// Every registration, with its time.
#[derive(Debug)]
pub struct Leases {
    lifetime: Duration,
    held: BTreeMap<ObjectName, Lease>,
}

#[derive(Debug)]
struct Lease {
    registration: Registration,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Refreshed; lapses then.
    Live { until: Instant },
    /// Lapsed and taken back; remembered for one lifetime to count mass lapses.
    Lapsed { at: Instant },
    /// Lapsed together with too many others: still there.
    Stale { since: Instant },
}

impl Leases {
    /// No leases; each will live `lifetime`.
    pub fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            held: BTreeMap::new(),
        }
    }

    /// Takes registrations of an earlier run: each gets a full lifetime.
    pub fn restore(&mut self, registrations: Vec<Registration>, now: Instant) -> Vec<Change> {
        let until = now + self.lifetime;
        let mut changes = Vec::new();
        for registration in registrations.into_iter().take(MAX_LEASES) {
            changes.push(Change::Upsert(registration.clone()));
            self.held.insert(
                registration.workload.clone(),
                Lease {
                    registration,
                    phase: Phase::Live { until },
                },
            );
        }
        changes
    }

    /// Creates or refreshes a lease.
    ///
    /// # Errors
    /// A name that another account holds, alive or stale, or one registration too many.
    pub fn register(
        &mut self,
        registration: Registration,
        now: Instant,
    ) -> Result<Vec<Change>, Refused> {
        let name = registration.workload.clone();
        let until = now + self.lifetime;
        let Some(lease) = self.held.get_mut(&name) else {
            if self.held.len() >= MAX_LEASES {
                return Err(Refused::Full);
            }
            let phase = Phase::Live { until };
            let change = Change::Upsert(registration.clone());
            self.held.insert(
                name,
                Lease {
                    registration,
                    phase,
                },
            );
            return Ok(vec![change]);
        };
        let published = !matches!(lease.phase, Phase::Lapsed { .. });
        let same_holder = lease.registration.service_account == registration.service_account;
        if published && !same_holder {
            return Err(Refused::Held {
                workload: name,
                holder: lease.registration.service_account.clone(),
            });
        }
        let mut changes = Vec::new();
        if !published || lease.registration != registration {
            changes.push(Change::Upsert(registration.clone()));
        }
        if matches!(lease.phase, Phase::Stale { .. }) {
            changes.push(Change::SetStale(name, false));
        }
        *lease = Lease {
            registration,
            phase: Phase::Live { until },
        };
        Ok(changes)
    }

    /// Ends a lease at once, if `identity` holds it.
    pub fn deregister(&mut self, name: &ObjectName, identity: &Identity) -> Vec<Change> {
        if name.namespace != identity.namespace {
            return Vec::new();
        }
        self.revoke(name, &identity.service_account)
    }

    /// Ends a lease at once, if `account` of its namespace holds it.
    pub fn revoke(&mut self, name: &ObjectName, account: &Name) -> Vec<Change> {
        let held = self.held.get(name);
        if held.is_none_or(|lease| lease.registration.service_account != *account) {
            return Vec::new();
        }
        match self.held.remove(name) {
            Some(lease) if !matches!(lease.phase, Phase::Lapsed { .. }) => {
                vec![Change::Delete(name.clone())]
            }
            _ => Vec::new(),
        }
    }

    /// Lets time pass. `services` names what a registration backs.
    pub fn expire(
        &mut self,
        now: Instant,
        services: impl Fn(&Registration) -> Vec<ObjectName>,
    ) -> Vec<Change> {
        let (lifetime, mut newly) = (self.lifetime, Vec::new());
        for (name, lease) in &mut self.held {
            if let Phase::Live { until } = lease.phase
                && until <= now
            {
                lease.phase = Phase::Lapsed { at: now };
                newly.push(name.clone());
            }
        }
        self.held.retain(|_, lease| match lease.phase {
            Phase::Lapsed { at } => now.duration_since(at) < lifetime,
            _ => true,
        });
        let backs: BTreeMap<ObjectName, Vec<ObjectName>> = self
            .held
            .iter()
            .map(|(name, lease)| (name.clone(), services(&lease.registration)))
            .collect();
        let failing = self.failing_services(&backs);
        let mut changes = Vec::new();
        for (name, lease) in &mut self.held {
            let kept = backs
                .get(name)
                .is_some_and(|of| of.iter().any(|service| failing.contains(service)));
            settle(name, lease, newly.contains(name), kept, now, &mut changes);
        }
        self.held.retain(|_, lease| match lease.phase {
            Phase::Stale { since } => now.duration_since(since) < STALE_LIMIT,
            _ => true,
        });
        changes
    }

    /// When [`Leases::expire`] has something to do next; at most a lifetime away.
    pub fn next(&self, now: Instant) -> Instant {
        self.held
            .values()
            .filter_map(|lease| match lease.phase {
                Phase::Live { until } => Some(until),
                _ => None,
            })
            .min()
            .unwrap_or(now + self.lifetime)
            .min(now + self.lifetime)
    }

    /// How long a lease lives without a refresh.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Every registration that is published, and whether it is stale.
    pub fn published(&self) -> impl Iterator<Item = (&Registration, bool)> {
        self.held.values().filter_map(|lease| match lease.phase {
            Phase::Live { .. } => Some((&lease.registration, false)),
            Phase::Stale { .. } => Some((&lease.registration, true)),
            Phase::Lapsed { .. } => None,
        })
    }

    /// Services of which over half the registrations lapsed.
    fn failing_services(
        &self,
        backs: &BTreeMap<ObjectName, Vec<ObjectName>>,
    ) -> BTreeSet<ObjectName> {
        let mut counts: BTreeMap<&ObjectName, (usize, usize)> = BTreeMap::new();
        for (name, services) in backs {
            let lapsed = self
                .held
                .get(name)
                .is_some_and(|lease| !matches!(lease.phase, Phase::Live { .. }));
            for service in services {
                let (gone, all) = counts.entry(service).or_default();
                *all += 1;
                *gone += usize::from(lapsed);
            }
        }
        counts
            .into_iter()
            .filter(|(_, (gone, all))| gone * 2 > *all)
            .map(|(service, _)| service.clone())
            .collect()
    }
}

/// Moves a lease that is not live to where its services' state puts it.
fn settle(
    name: &ObjectName,
    lease: &mut Lease,
    newly: bool,
    kept: bool,
    now: Instant,
    changes: &mut Vec<Change>,
) {
    match lease.phase {
        Phase::Live { .. } => {}
        Phase::Lapsed { .. } if kept => {
            if !newly {
                changes.push(Change::Upsert(lease.registration.clone()));
            }
            changes.push(Change::SetStale(name.clone(), true));
            lease.phase = Phase::Stale { since: now };
        }
        Phase::Lapsed { .. } => {
            if newly {
                changes.push(Change::Delete(name.clone()));
            }
        }
        Phase::Stale { since } => {
            let ended = now.duration_since(since) >= STALE_LIMIT;
            if !kept || ended {
                changes.push(Change::Delete(name.clone()));
                lease.phase = Phase::Lapsed { at: now };
            }
        }
    }
}

/// The files of registrations: `leases/<namespace>_<name>.json`.
#[derive(Debug)]
pub struct LeaseFiles {
    folder: PathBuf,
}

impl LeaseFiles {
    /// Opens the folder under `state`.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let folder = state.join("leases");
        state::make_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Every registration of an earlier run; a damaged file is named and left out.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn load(&self) -> Result<Vec<Registration>, Error> {
        let mut found = Vec::new();
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.folder))?.path();
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let text = state::read(&path)?.unwrap_or_default();
            match serde_json::from_slice(&text) {
                Ok(registration) => found.push(registration),
                Err(error) => crate::telemetry::record_refused(
                    &path.display().to_string(),
                    &error.to_string(),
                ),
            }
        }
        Ok(found)
    }

    /// Writes down what changed; a stale lease stays on disk.
    ///
    /// # Errors
    /// A disk that fails.
    pub fn store(&self, changes: &[Change]) -> Result<(), Error> {
        for change in changes {
            match change {
                Change::Upsert(registration) => {
                    let text = serde_json::to_vec(registration).unwrap_or_default();
                    state::write(&self.path(&registration.workload), &text)?;
                }
                Change::Delete(name) => state::remove(&self.path(name))?,
                Change::SetStale(..) => {}
            }
        }
        Ok(())
    }

    fn path(&self, name: &ObjectName) -> PathBuf {
        let file = format!("{}_{}.json", name.namespace, name.name);
        // A file name holds at most 255 bytes and a name up to 253.
        if file.len() <= 255 {
            return self.folder.join(file);
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file.as_bytes());
        let hash = hexadecimal(digest.as_ref());
        self.folder.join(format!("{hash}.json"))
    }
}

/// How long endpoints are kept stale when nobody refreshes them.
const STALE_LIMIT: Duration = Duration::from_hours(1);
const MAX_LEASES: usize = 20_000;
const MAX_LABELS: usize = 64;
const MAX_PORTS: usize = 64;
const MAX_WEIGHT: u32 = 10_000;

#[cfg(test)]
mod tests;
