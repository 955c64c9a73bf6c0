//! Who the workload is: its key, certificate and roots, and the TLS settings made from them.
//!
//! Keys are made here and never leave the machine. Peers are told by the SPIFFE ID in their
//! certificate alone; DNS names and addresses play no part. May use nothing of this crate.

mod cell;
mod control;
mod directory;
#[cfg(test)]
pub mod fixture;
mod key;
#[cfg(test)]
mod tests;
mod verified;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_api::name::{Identity, TrustDomain};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

pub use self::cell::{IdentityCell, View, renew_at};
pub use self::control::{
    CONTROL_ACCOUNT, CONTROL_NAMESPACE, ControlTrust, RootHash, control_client_config,
};
pub use self::directory::{load, save};
pub use self::key::{Key, anonymous_request, request};
pub use self::verify::{WrongIdentity, identity_of, peer_identity, peer_not_after};

/// Client settings kept per set of credentials, one per expected identity.
const MAX_CLIENT_CONFIGS: usize = 4096;
/// The one application protocol between proxies (RFC 9113 section 3.1).
const ALPN: &[u8] = b"h2";

/// A workload's certificate chain, key and trusted roots: checked, and immutable.
pub struct Credentials {
    identity: Identity,
    not_before: i64,
    not_after: i64,
    serial: String,
    generation: u64,
    chain: Vec<CertificateDer<'static>>,
    anchors: Vec<CertificateDer<'static>>,
    key: Key,
    certified: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    clients: Mutex<HashMap<Identity, Arc<ClientConfig>>>,
    server: Mutex<Option<(Vec<TrustDomain>, Arc<ServerConfig>)>>,
}

/// Why a key, a chain and roots are no credentials, or a key is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no leaf, or no root.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A certificate does not decode.
    #[error("a certificate of the {part} does not decode: {reason}")]
    Certificate {
        /// `chain` or `roots`.
        part: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The leaf carries no SPIFFE ID of the form used here.
    #[error(
        "the certificate carries no identity (a URI like spiffe://<trust domain>/ns/<namespace>/sa/<service account>)"
    )]
    NoIdentity,
    /// The key cannot be used, or is not the leaf's.
    #[error("the key does not fit the certificate: {0}")]
    Key(rustls::Error),
    /// The chain does not lead to a root, or is out of its time.
    #[error("the certificate chain is not valid: {0}")]
    Chain(rustls::Error),
    /// TLS settings could not be built.
    #[error("TLS settings: {0}")]
    Settings(String),
    /// The key or a request could not be made.
    #[error("making a key or a certificate request: {0}")]
    Making(#[from] rcgen::Error),
    /// Reading or writing the credentials directory.
    #[error("{path}: {source}")]
    Directory {
        /// The file or directory.
        path: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

impl Credentials {
    /// Checks that `key` is the leaf's, that the leaf carries an identity, and that the chain
    /// (leaf first, DER) leads to one of `roots` (DER) now.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn new(chain: Vec<Vec<u8>>, roots: Vec<Vec<u8>>, key: Key) -> Result<Self, IdentityError> {
        let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
        let anchors: Vec<_> = roots.into_iter().map(CertificateDer::from).collect();
        let leaf = chain.first().ok_or(IdentityError::Empty("chain"))?;
        let facts = verify::Facts::read(leaf)?;
        let identity = facts.identity.ok_or(IdentityError::NoIdentity)?;
        let roots = root_store(&anchors)?;
        let certified =
            CertifiedKey::from_der(chain.clone(), key.private_key(), &verify::provider())
                .map_err(IdentityError::Key)?;
        verify::check_chain(&chain, &roots, UnixTime::now()).map_err(IdentityError::Chain)?;
        Ok(Self {
            identity,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: facts.serial,
            generation: generation_of(&chain, &anchors),
            chain,
            anchors,
            key,
            certified: Arc::new(certified),
            roots: Arc::new(roots),
            clients: Mutex::default(),
            server: Mutex::default(),
        })
    }

    /// The same leaf and key under another set of roots (DER): trust changed, the workload did not.
    ///
    /// # Errors
    /// The leaf does not lead to one of `roots`.
    pub fn with_roots(&self, roots: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        let chain = self.chain.iter().map(|der| der.to_vec()).collect();
        Self::new(chain, roots, self.key.clone())
    }

    /// The workload's identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Start of the leaf's life, in seconds since the epoch.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// End of the leaf's life, in seconds since the epoch.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The leaf's serial number in hexadecimal.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// A hash of the chain and the roots: differs whenever either does.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The trusted roots.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.anchors
    }

    /// Settings for dialling a peer that must prove to be `expected`, and nothing else.
    ///
    /// # Errors
    /// TLS settings that cannot be built: a defect, reported instead of a panic.
    pub fn client_config(&self, expected: &Identity) -> Result<Arc<ClientConfig>, IdentityError> {
        let mut cache = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = cache.get(expected) {
            return Ok(config.clone());
        }
        let verifier = verify::ServerVerifier::expecting(expected.clone(), self.roots.clone());
        let config = Arc::new(self.client_settings(Arc::new(verifier))?);
        if cache.len() >= MAX_CLIENT_CONFIGS {
            cache.clear();
        }
        cache.insert(expected.clone(), config.clone());
        Ok(config)
    }

    /// Settings for accepting tunnels: a certificate is required of the peer, with an identity of
    /// the own trust domain or one of `aliases`.
    ///
    /// # Errors
    /// TLS settings that cannot be built: a defect, reported instead of a panic.
    pub fn server_config(
        &self,
        aliases: &[TrustDomain],
    ) -> Result<Arc<ServerConfig>, IdentityError> {
        let mut cache = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = cache.as_ref()
            && known == aliases
        {
            return Ok(config.clone());
        }
        let config = Arc::new(self.server_settings(aliases)?);
        *cache = Some((aliases.to_vec(), config.clone()));
        Ok(config)
    }

    fn client_settings(
        &self,
        verifier: Arc<dyn rustls::client::danger::ServerCertVerifier>,
    ) -> Result<ClientConfig, IdentityError> {
        let mut config = verify::client_builder(verifier)?
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        harden_client(&mut config);
        Ok(config)
    }

    fn server_settings(&self, aliases: &[TrustDomain]) -> Result<ServerConfig, IdentityError> {
        let mut domains = vec![self.identity.trust_domain.clone()];
        domains.extend_from_slice(aliases);
        let verifier = verify::ClientVerifier::new(domains, self.roots.clone())?;
        let settings = |error: rustls::Error| IdentityError::Settings(error.to_string());
        let mut config = ServerConfig::builder_with_provider(verify::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(settings)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity)
            .field("serial", &self.serial)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn harden_client(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
}

fn root_store(roots: &[CertificateDer<'static>]) -> Result<RootCertStore, IdentityError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root.clone())
            .map_err(|error| IdentityError::Certificate {
                part: "roots",
                reason: error.to_string(),
            })?;
    }
    if store.is_empty() {
        return Err(IdentityError::Empty("list of roots"));
    }
    Ok(store)
}

fn generation_of(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'_>]) -> u64 {
    let mut hash = Sha256::new();
    for part in [chain, roots] {
        hash.update(part.len().to_be_bytes());
        for certificate in part {
            hash.update(certificate.len().to_be_bytes());
            hash.update(certificate);
        }
    }
    hash.finalize()
        .iter()
        .take(8)
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
