//! Idle connections kept for reuse, by a worker for itself.

use std::hash::{BuildHasher as _, Hash, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt as _};
use mesh_api::model::backend::{Endpoint, Transport};
use mesh_api::name::Identity;

use crate::identity::Credentials;

/// Idle connections to one endpoint.
const MAX_PER_KEY: usize = 256;
/// Idle connections in all.
const MAX_IDLE: usize = 4096;

/// What an idle connection leads to: two are equal only if the same exchange may use either. Cheap to
/// clone and to hash.
#[derive(Clone, Debug)]
pub struct PoolKey(Rc<Parts>);

#[derive(Debug)]
struct Parts {
    address: SocketAddr,
    tunnel: Option<TunnelKey>,
    /// Of the address and the tunnel.
    hash: u64,
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
        Self::of(endpoint.address, tunnel)
    }

    /// The key of plain connections to an address.
    pub fn plain(address: SocketAddr) -> Self {
        Self::of(address, None)
    }

    fn of(address: SocketAddr, tunnel: Option<TunnelKey>) -> Self {
        let hash = FixedState::default().hash_one((address, &tunnel));
        Self(Rc::new(Parts {
            address,
            tunnel,
            hash,
        }))
    }

    /// Whether it is of a tunnel with credentials of this generation, or of none.
    pub(super) fn is_of(&self, generation: Option<u64>) -> bool {
        self.0.tunnel.as_ref().map(|tunnel| tunnel.generation) == generation
    }
}

impl PartialEq for PoolKey {
    fn eq(&self, other: &Self) -> bool {
        let parts = |key: &Self| (key.0.address, key.0.hash);
        Rc::ptr_eq(&self.0, &other.0)
            || (parts(self) == parts(other) && self.0.tunnel == other.0.tunnel)
    }
}

impl Eq for PoolKey {}

impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
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

    /// Closes those that `is_closed` says.
    pub fn close(&mut self, mut is_closed: impl FnMut(&T) -> bool) {
        for idle in self.idle.values_mut() {
            idle.retain(|idle| !is_closed(&idle.connection));
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
