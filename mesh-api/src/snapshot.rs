//! Entries compiled into lookup tables: immutable, shared, and cheap to change in part.
//!
//! A change of endpoints compiles no route: [`DestinationTable::compile`] reuses what did not
//! change, and [`Snapshot::apply`] shares every entry it does not touch. May use `model` and `name`.

pub mod backend;
pub mod connections;
pub mod faults;
pub mod hash;
pub mod maglev;
pub mod paths;
pub mod ratelimits;
pub mod ring;
pub mod routing;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::HashMap;

use crate::error::{Faults, Invalid};
use crate::model::affinity::{Scope, Stickiness};
use crate::model::backend::Backend;
use crate::model::destination::{Destination, Protocol};
use crate::model::entry::{Entry, EntryName};
use crate::model::inbound::Inbound;
use crate::model::mesh::MeshFacts;
use crate::model::origin::Sourced;
use crate::model::policy::{ExchangeTimeouts, RetryPolicy};
use crate::model::route::{Action, Target};
use crate::name::{DestinationName, Namespace, ObjectName};

pub use backend::{BackendTable, KeyTable};
pub use connections::{ConnectionTable, ConnectionTables};
pub use faults::FaultTable;
pub use ratelimits::{LimitTable, RateLimitTable};
pub use routing::{Expressions, MatchTable, RouteTable, RoutingTable, RuleTable};

/// Everything a proxy decides by, at one moment. An exchange takes one and keeps it to its end.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Mesh-wide facts, once received.
    pub mesh: Option<Arc<MeshFacts>>,
    /// Destinations by name.
    pub destinations: HashMap<DestinationName, Known>,
    /// Receiving sides by workload.
    pub inbound: HashMap<ObjectName, Arc<Inbound>>,
    /// The limits of those that have any.
    pub rate_limits: HashMap<ObjectName, Arc<RateLimitTable>>,
    /// Virtual IPs and ports that were asked for; `None`: known to be nobody's.
    pub addresses: HashMap<SocketAddr, Option<DestinationName>>,
}

/// What is known of a destination that was asked for.
#[derive(Clone, Debug)]
pub enum Known {
    /// It exists.
    Present(Arc<DestinationTable>),
    /// The control plane says that it does not exist.
    Absent,
    /// Its entry cannot be used and there is no last good: calls fail with this reason.
    Failed(String),
}

/// A change to one entry of a snapshot.
#[derive(Clone, Debug)]
pub enum Change {
    /// The entry now reads so.
    Upsert(Box<Entry>),
    /// A new state of the entry exists but cannot be used: its last good stays; without one, calls
    /// fail with this reason.
    Fail(EntryName, String),
    /// The entry does not exist, authoritatively.
    Remove(EntryName),
}

/// An entry that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The entry.
    pub name: EntryName,
    /// Its faults; never empty.
    pub faults: Vec<Invalid>,
}

impl Snapshot {
    /// This snapshot with `changes` made, in order, and the entries that were refused.
    ///
    /// What no change names is shared with `self`. A refused destination keeps its last good state;
    /// without one it is [`Known::Failed`].
    pub fn apply(&self, changes: Vec<Change>) -> (Self, Vec<Refused>) {
        let mut next = self.clone();
        let mut refused = Vec::new();
        for change in changes {
            match change {
                Change::Upsert(entry) => next.upsert(*entry, &mut refused),
                Change::Fail(EntryName::Destination(name), reason) => next.fail(name, reason),
                // The mesh's facts and inbound sides keep their last good; absent ones stay absent.
                Change::Fail(..) => {}
                Change::Remove(EntryName::Mesh) => next.mesh = None,
                Change::Remove(EntryName::Inbound(name)) => {
                    next.inbound.remove(&name);
                    next.rate_limits.remove(&name);
                }
                Change::Remove(EntryName::Destination(name)) => {
                    next.destinations.insert(name, Known::Absent);
                }
                Change::Remove(EntryName::Address(address)) => {
                    next.addresses.insert(address, None);
                }
            }
        }
        (next, refused)
    }

    /// This snapshot without what it knows of `name`: nobody asks for it any more.
    #[must_use]
    pub fn forget(&self, name: &EntryName) -> Self {
        let mut next = self.clone();
        match name {
            EntryName::Mesh => next.mesh = None,
            EntryName::Inbound(name) => {
                next.inbound.remove(name);
                next.rate_limits.remove(name);
            }
            EntryName::Destination(name) => {
                next.destinations.remove(name);
            }
            EntryName::Address(address) => {
                next.addresses.remove(address);
            }
        }
        next
    }

    /// The destination, if it is known to exist.
    pub fn destination(&self, name: &DestinationName) -> Option<&Arc<DestinationTable>> {
        match self.destinations.get(name) {
            Some(Known::Present(table)) => Some(table),
            _ => None,
        }
    }

    /// The destination with the virtual IP `address` and `port`.
    ///
    /// A scan: a proxy holds what its workload dials, not the mesh.
    pub fn find_address(&self, address: IpAddr, port: u16) -> Option<&Arc<DestinationTable>> {
        let tables = self.destinations.values().filter_map(|known| match known {
            Known::Present(table) => Some(table),
            Known::Absent | Known::Failed(_) => None,
        });
        tables
            .filter(|table| table.name.port.number() == port)
            .filter(|table| table.addresses.contains(&address))
            .min_by_key(|table| &table.name)
    }

    fn upsert(&mut self, entry: Entry, refused: &mut Vec<Refused>) {
        match entry {
            Entry::Mesh(facts) => {
                if self.mesh.as_deref() != Some(&facts) {
                    self.mesh = Some(Arc::new(facts));
                }
            }
            Entry::Inbound(inbound) => self.upsert_inbound(inbound, refused),
            Entry::Destination(destination) => self.upsert_destination(destination, refused),
            Entry::Address(known) => {
                self.addresses
                    .insert(known.address, Some(known.destination));
            }
        }
    }

    fn upsert_inbound(&mut self, inbound: Inbound, refused: &mut Vec<Refused>) {
        let name = inbound.workload.clone();
        let held = self.inbound.get(&name);
        if held.is_some_and(|held| **held == inbound) {
            return;
        }
        let mut faults = Faults::default();
        let limits = RateLimitTable::compile(&inbound, &mut faults);
        if !faults.is_empty() {
            refused.push(Refused {
                name: EntryName::Inbound(name),
                faults: faults.into_vec(),
            });
            return;
        }
        match limits {
            Some(limits) => self.rate_limits.insert(name.clone(), limits),
            None => self.rate_limits.remove(&name),
        };
        self.inbound.insert(name, Arc::new(inbound));
    }

    fn upsert_destination(&mut self, destination: Destination, refused: &mut Vec<Refused>) {
        let name = destination.name.clone();
        let previous = self.destination(&name).map(|table| &**table);
        match DestinationTable::compile(destination, previous) {
            Ok(table) => {
                let known = Known::Present(Arc::new(table));
                self.destinations.insert(name, known);
            }
            Err(faults) => {
                let reason = faults.first().map(ToString::to_string).unwrap_or_default();
                self.fail(name.clone(), reason);
                let name = EntryName::Destination(name);
                refused.push(Refused { name, faults });
            }
        }
    }

    fn fail(&mut self, name: DestinationName, reason: String) {
        let held = self.destinations.entry(name);
        let known = held.or_insert_with(|| Known::Failed(String::new()));
        if !matches!(known, Known::Present(_)) {
            *known = Known::Failed(reason);
        }
    }
}

/// A destination ready for look-ups.
#[derive(Debug)]
pub struct DestinationTable {
    /// The Service and port.
    pub name: DestinationName,
    /// The namespace it is seen from.
    pub consumer: Namespace,
    /// What the app speaks.
    pub protocol: Protocol,
    /// Its virtual IPs.
    pub addresses: Vec<IpAddr>,
    /// Its rules in order of precedence.
    pub routing: Arc<RoutingTable>,
    /// Its connection routes by server name.
    pub connections: Arc<ConnectionTables>,
    /// Backends; the first is the destination's own. Never empty.
    pub backends: Vec<Arc<BackendTable>>,
    /// Timeouts where no rule says otherwise.
    pub timeouts: ExchangeTimeouts,
    /// Retries where no rule says otherwise.
    pub retry: Sourced<RetryPolicy>,
    /// Injected faults; rules name them by their place.
    pub faults: Vec<FaultTable>,
    /// The place of those in force where no rule decides.
    pub own_faults: Option<u32>,
    /// A rule or a fault asks for labels of the caller.
    pub reads_labels: bool,
    /// What keeps a user on an endpoint where no rule says otherwise.
    pub stickiness: Option<Sourced<Stickiness>>,
}

impl DestinationTable {
    /// Compiles `destination`, sharing with `previous` the routing and each backend that are equal.
    ///
    /// # Errors
    /// Every rule that names a backend that is not there, or a destination without backends.
    pub fn compile(
        destination: Destination,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Invalid>> {
        let mut faults = Faults::default();
        if destination.backends.is_empty() {
            faults.field("backends", |f| f.refuse("is empty"));
        }
        let held = previous.map(|table| &table.routing);
        let routing = match held.filter(|routing| routing.holds(&destination.routes)) {
            Some(routing) => Some(Arc::clone(routing)),
            None => RoutingTable::compile(destination.routes, &mut faults).map(Arc::new),
        };
        if let Some(routing) = &routing {
            routing.check_targets(destination.backends.len(), &mut faults);
        }
        let held = previous.map(|table| &table.connections);
        let connections = match held.filter(|held| held.holds(&destination.connection_routes)) {
            Some(held) => Arc::clone(held),
            None => Arc::new(ConnectionTables::compile(destination.connection_routes)),
        };
        connections.check_targets(destination.backends.len(), &mut faults);
        let lists = destination.faults.into_iter();
        let injected: Vec<_> = lists
            .map(|list| FaultTable::compile(list, &mut faults))
            .collect();
        let sticky = sticky(destination.stickiness.as_ref(), routing.as_deref());
        let backends = destination.backends.into_iter().enumerate();
        let backends = backends
            .map(|(at, backend)| share(backend, sticky.contains(&at), previous))
            .collect();
        match routing {
            Some(routing) if faults.is_empty() => Ok(Self {
                reads_labels: routing.reads_labels || injected.iter().any(FaultTable::reads_labels),
                faults: injected,
                own_faults: destination.own_faults,
                name: destination.name,
                consumer: destination.consumer,
                protocol: destination.protocol,
                addresses: destination.addresses,
                routing,
                connections,
                backends,
                timeouts: destination.timeouts,
                retry: destination.retry,
                stickiness: destination.stickiness,
            }),
            _ => Err(faults.into_vec()),
        }
    }

    /// What it was compiled from, rebuilt from its parts.
    pub fn destination(&self) -> Destination {
        Destination {
            name: self.name.clone(),
            consumer: self.consumer.clone(),
            protocol: self.protocol,
            addresses: self.addresses.clone(),
            routes: self.routing.routes(),
            connection_routes: self.connections.routes(),
            backends: self.backends.iter().map(|b| b.backend.clone()).collect(),
            timeouts: self.timeouts.clone(),
            retry: self.retry.clone(),
            faults: self.faults.iter().map(|list| list.faults.clone()).collect(),
            own_faults: self.own_faults,
            stickiness: self.stickiness.clone(),
        }
    }

    /// The list of faults at a place, if anything is injected.
    pub fn faults_at(&self, place: Option<u32>) -> Option<&FaultTable> {
        self.faults.get(usize::try_from(place?).ok()?)
    }
}

/// The places of backends whose endpoints keep their users by a rule.
fn sticky(
    destination: Option<&Sourced<Stickiness>>,
    routing: Option<&RoutingTable>,
) -> BTreeSet<usize> {
    let keeps = |stickiness: Option<&Sourced<Stickiness>>| {
        stickiness.is_some_and(|found| found.value.scope == Scope::Endpoint)
    };
    let routes = routing.into_iter().flat_map(|routing| &routing.routes);
    let rules = routes.flat_map(|route| &route.rules);
    let rules = rules.filter(|table| keeps(table.rule.stickiness.as_ref()));
    let targets = rules.flat_map(|table| match &table.rule.action {
        Action::Forward { backends, .. } => backends.as_slice(),
        Action::Redirect(_) | Action::Respond(_) | Action::Broken { .. } => &[],
    });
    let places = targets.filter_map(|backend| match backend.target {
        Target::Backend(index) => usize::try_from(index).ok(),
        Target::Broken { .. } => None,
    });
    places.chain(keeps(destination).then_some(0)).collect()
}

fn share(backend: Backend, sticky: bool, previous: Option<&DestinationTable>) -> Arc<BackendTable> {
    let mut held = previous.iter().flat_map(|table| &table.backends);
    let is_same = |held: &&Arc<BackendTable>| {
        held.backend.name == backend.name && held.is_sticky == sticky && held.backend == backend
    };
    match held.find(is_same) {
        Some(held) => Arc::clone(held),
        None => Arc::new(BackendTable::new(backend, sticky)),
    }
}

#[cfg(test)]
mod tests;
