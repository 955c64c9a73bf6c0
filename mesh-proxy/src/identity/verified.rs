//! Chains that were verified before: the workers of a peer, and its next connections, show the same one,
//! and its signatures are most of what a handshake costs.
//!
//! A chain is known by its very bytes, under the roots of the verifier that keeps it, and for as long as
//! each of its certificates is valid. That the peer holds the key of its leaf is proved each time.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use foldhash::{HashMap, HashMapExt as _};
use mesh_api::name::Identity;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

/// Chains kept; all are forgotten when there are more.
const MAX_CHAINS: usize = 4096;

/// A hash of a chain's bytes.
type Key = [u8; 32];

/// What verified chains said.
#[derive(Debug)]
pub(super) struct Verified(Mutex<HashMap<Key, Known>>);

/// What is known of a chain that was verified.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Of its leaf.
    pub(super) identity: Option<Identity>,
    /// When all of its certificates are valid, in seconds since the epoch.
    pub(super) valid: RangeInclusive<i64>,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// The identity of a chain that was verified before and is valid `now`, or else of what `verify` finds.
    ///
    /// # Errors
    /// That of `verify`; nothing is kept of such a chain.
    pub(super) fn identity<E>(
        &self,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
        verify: impl FnOnce() -> Result<Known, E>,
    ) -> Result<Option<Identity>, E> {
        let key = key(leaf, intermediates);
        let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if let Some(known) = self.lock().get(&key)
            && known.valid.contains(&at)
        {
            return Ok(known.identity.clone());
        }
        // Not under the lock: it takes long.
        let known = verify()?;
        let identity = known.identity.clone();
        let mut all = self.lock();
        if all.len() >= MAX_CHAINS {
            all.clear();
        }
        all.insert(key, known);
        Ok(identity)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Key {
    let mut hash = Sha256::new();
    for certificate in std::iter::once(leaf).chain(intermediates) {
        hash.update(certificate.len().to_be_bytes());
        hash.update(certificate);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_same_bytes_are_verified_once_while_they_are_valid() {
        let verified = Verified::new();
        let certificate = |byte| CertificateDer::from(vec![byte]);
        let (leaf, other, above) = (certificate(1), certificate(2), [certificate(3)]);
        let shop: Identity = "spiffe://mesh.test/ns/demo/sa/shop".parse().unwrap();
        let ask = |chain, at, answer: Result<(), &'static str>| {
            let mut was_asked = false;
            let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
            let said = verified.identity(chain, now, || {
                was_asked = true;
                answer.map(|()| Known {
                    identity: Some(shop.clone()),
                    valid: 100..=200,
                })
            });
            (
                said.map(|identity| identity == Some(shop.clone())),
                was_asked,
            )
        };
        let chain = (&leaf, &above[..]);
        assert_eq!(ask(chain, 150, Err("forged")), (Err("forged"), true));
        assert_eq!(ask(chain, 150, Ok(())), (Ok(true), true));
        assert_eq!(ask(chain, 200, Err("not asked")), (Ok(true), false));
        assert_eq!(ask(chain, 201, Err("expired")), (Err("expired"), true));
        assert_eq!(ask(chain, 99, Err("too early")), (Err("too early"), true));
        assert_eq!(
            ask((&other, &above[..]), 150, Err("forged")),
            (Err("forged"), true)
        );
        assert_eq!(ask((&leaf, &[]), 150, Err("cut")), (Err("cut"), true));
    }
}
