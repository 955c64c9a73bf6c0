//! Idle connections kept for reuse, by a worker for itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt as _};
use mesh_api::model::backend::{Endpoint, Transport};
use mesh_api::name::Identity;

use crate::identity::Credentials;

/// Idle connections to one endpoint.
const MAX_PER_KEY: usize = 256;
/// Idle connections in all.
const MAX_IDLE: usize = 4096;

/// What an idle connection leads to: two are equal only if the same exchange may use either.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    address: SocketAddr,
    tunnel: Option<TunnelKey>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TunnelKey {
    local: Identity,
    expected: Identity,
    port: u16,
    generation: u64,
}

impl PoolKey {
    /// The key of connections to `endpoint` made with `credentials`.
    pub fn new(endpoint: &Endpoint, credentials: Option<&Credentials>) -> Self {
        let tunnel = match (&endpoint.transport, credentials) {
            (Transport::Hbone { identity, port }, Some(own)) => Some(TunnelKey {
                local: own.identity().clone(),
                expected: identity.clone(),
                port: port.number(),
                generation: own.generation(),
            }),
            _ => None,
        };
        Self {
            address: endpoint.address,
            tunnel,
        }
    }

    /// The key of plain connections to an address.
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address,
            tunnel: None,
        }
    }
}

/// What a pool asks of a connection before it hands it out again.
pub trait IdleCheck {
    /// Whether it is open and has nothing unread: an idle connection that speaks is out of step.
    /// Must not block.
    fn is_usable(&mut self) -> bool;
}

/// Idle connections, the last used first.
#[derive(Debug)]
pub struct Pool<T> {
    idle: HashMap<PoolKey, Vec<Idle<T>>>,
    count: usize,
}

#[derive(Debug)]
struct Idle<T> {
    connection: T,
    /// Not handed out from then on.
    until: Instant,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            idle: HashMap::new(),
            count: 0,
        }
    }
}

impl<T: IdleCheck> Pool<T> {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the connection last put back that can still be used; drops those that cannot.
    pub fn checkout(&mut self, key: &PoolKey, now: Instant) -> Option<T> {
        let idle = self.idle.get_mut(key)?;
        while let Some(mut last) = idle.pop() {
            self.count -= 1;
            if last.until > now && last.connection.is_usable() {
                return Some(last.connection);
            }
        }
        self.idle.remove(key);
        None
    }

    /// Keeps a connection for reuse for at most `pool_idle`. Where there are too many, it or one
    /// that is over its time is closed.
    pub fn checkin(&mut self, key: PoolKey, connection: T, pool_idle: Duration, now: Instant) {
        if self.count >= MAX_IDLE {
            self.evict(now);
        }
        let Some(until) = now.checked_add(pool_idle).filter(|_| self.count < MAX_IDLE) else {
            return;
        };
        let idle = self.idle.entry(key).or_default();
        if idle.len() < MAX_PER_KEY {
            idle.push(Idle { connection, until });
            self.count += 1;
        }
    }

    /// Closes what is over its time or was closed by the peer. To be called every few seconds.
    pub fn evict(&mut self, now: Instant) {
        for idle in self.idle.values_mut() {
            idle.retain_mut(|idle| idle.until > now && idle.connection.is_usable());
        }
        self.idle.retain(|_, idle| !idle.is_empty());
        self.count = self.idle.values().map(Vec::len).sum();
    }

    /// Idle connections.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}
