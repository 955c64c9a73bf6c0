//! A backend with what its endpoints are chosen by.

use std::ops::Deref;

use crate::model::backend::Backend;
use crate::model::policy::Algorithm;
use crate::snapshot::hash::xxh64;
use crate::snapshot::maglev::Maglev;
use crate::snapshot::ring::Ring;

/// A backend, ready for look-ups.
#[derive(Debug)]
pub struct BackendTable {
    /// The backend.
    pub backend: Backend,
    /// Where keys lead; `None` where no key picks an endpoint.
    pub keys: Option<KeyTable>,
    /// What its name comes to among the backends of a rule that a key chooses from.
    pub seed: u64,
    /// Whether a rule keeps users on its endpoints, whatever its algorithm.
    pub is_sticky: bool,
}

/// Where keys lead among the endpoints of a backend.
#[derive(Debug, PartialEq, Eq)]
pub enum KeyTable {
    /// By a ring.
    Ring(Ring),
    /// By a Maglev table.
    Maglev(Maglev),
}

impl BackendTable {
    /// Compiles a backend. Where its algorithm goes by no key, but a rule keeps users on its endpoints, they are
    /// chosen by a Maglev table.
    pub(super) fn new(backend: Backend, sticky: bool) -> Self {
        let keys = match backend.settings.algorithm.value {
            Algorithm::RingHash => Some(KeyTable::Ring(Ring::new(&backend.endpoints))),
            Algorithm::Maglev => Some(KeyTable::Maglev(Maglev::new(&backend.endpoints))),
            _ if sticky => Some(KeyTable::Maglev(Maglev::new(&backend.endpoints))),
            _ => None,
        };
        Self {
            seed: xxh64(0, backend.name.to_string().as_bytes()),
            backend,
            keys,
            is_sticky: sticky,
        }
    }
}

impl From<Backend> for BackendTable {
    fn from(backend: Backend) -> Self {
        Self::new(backend, false)
    }
}

impl Deref for BackendTable {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

impl KeyTable {
    /// Calls `take` with the places of endpoints in the order in which `key` asks for them, until it takes one. A
    /// place comes again and again.
    pub fn find(&self, key: u64, take: impl FnMut(&usize) -> bool) -> Option<usize> {
        match self {
            Self::Ring(ring) => ring.walk(key).find(take),
            Self::Maglev(maglev) => maglev.walk(key).find(take),
        }
    }
}
