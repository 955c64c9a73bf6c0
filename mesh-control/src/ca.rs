//! The certificate authority: a root that may be taken away, an intermediate that signs, leaves
//! that live a day. May use `state` and `error`.
//!
//! Where root and intermediate are kept is not its matter: `folder` reads them from files,
//! `kubernetes::secrets` from Secrets.

pub mod folder;
pub mod material;
pub mod request;
pub mod token;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use mesh_api::name::Identity;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::Error;
use crate::state::hexadecimal;
use folder::Folder;
use material::{Material, random_serial, remaining, set_validity};
use request::{Refused, check_request};

/// Signs certificates and knows which roots are trusted.
pub struct Authority {
    signer: RwLock<Arc<Signer>>,
    roots: RwLock<Roots>,
    leaf_lifetime: Duration,
    rate: Mutex<Rate>,
    /// Where trusted roots are looked for again, if that is a folder.
    folder: Option<Folder>,
}

/// What signs leaves now.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    intermediate: CertificateDer<'static>,
    root: CertificateDer<'static>,
}

/// Trusted roots, shared.
pub type Roots = Arc<[CertificateDer<'static>]>;

/// A certificate just signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// DER, leaf first, root not included.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's serial, lower-case hexadecimal.
    pub serial: String,
}

impl Authority {
    /// Opens the authority kept in files under `state`, or makes one on first use.
    ///
    /// The root's key may be absent as long as the intermediate is valid: only beside that key is
    /// one replaced that ends soon.
    ///
    /// # Errors
    /// Files that cannot be used, or an intermediate that has to be renewed without the root's key.
    pub fn open(state: &Path, leaf_lifetime: Duration, now: SystemTime) -> Result<Self, Error> {
        let folder = Folder::open(state)?;
        let mut authority = Self::of(folder.material(now)?, leaf_lifetime, now)?;
        authority.folder = Some(folder);
        Ok(authority)
    }

    /// An authority that signs with `material`.
    ///
    /// # Errors
    /// A certificate and a key that do not go together, or no trusted root, or too many.
    pub fn of(material: Material, leaf_lifetime: Duration, now: SystemTime) -> Result<Self, Error> {
        let roots = check_roots(material.roots.clone())?;
        Ok(Self {
            signer: RwLock::new(Arc::new(Signer::of(material)?)),
            roots: RwLock::new(roots),
            leaf_lifetime,
            rate: Mutex::new(Rate::full(now)),
            folder: None,
        })
    }

    /// Signs with `material` from now on; true if something of it is new.
    ///
    /// # Errors
    /// As [`Authority::of`]: what was in force stays.
    pub fn replace(&self, material: Material) -> Result<bool, Error> {
        let roots = check_roots(material.roots.clone())?;
        let new_signer = material.intermediate != self.signer().intermediate;
        if new_signer {
            let signer = Arc::new(Signer::of(material)?);
            *self.signer.write().unwrap_or_else(PoisonError::into_inner) = signer;
        }
        Ok(self.trust(roots) || new_signer)
    }

    /// Signs `request` (PKCS#10, DER) for the identity `granted` to the caller.
    ///
    /// # Errors
    /// A request that is malformed, not signed by its key, of another key type, for another
    /// identity, or one too many.
    pub fn issue(
        &self,
        request: &[u8],
        granted: &Identity,
        now: SystemTime,
    ) -> Result<Issued, Refused> {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if !rate.take(now) {
            return Err(Refused::TooMany);
        }
        drop(rate);
        let public_key = check_request(request, granted)?;
        if self.lifetime(now).is_zero() {
            return Err(Refused::Failed(ENDED.into()));
        }
        let failed = |error: rcgen::Error| Refused::Failed(error.to_string());
        let name = granted.to_string().try_into().map_err(failed)?;
        let (params, serial) = self.leaf(vec![SanType::URI(name)], now);
        let request = CertificateSigningRequestParams { params, public_key };
        let signer = self.signer();
        let leaf = request.signed_by(&signer.issuer).map_err(failed)?;
        let chain = vec![leaf.der().clone(), signer.intermediate.clone()];
        Ok(Issued { chain, serial })
    }

    /// TLS of the control plane itself as `identity`, with a fresh certificate.
    ///
    /// TLS 1.3 only. A client certificate is optional here, and every call but `Join` needs one.
    /// The root is sent along, so that a joining process can find it by the hash in its token.
    ///
    /// # Errors
    /// Roots that rustls does not take.
    pub fn server_config(
        &self,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<rustls::ServerConfig, Error> {
        let names = vec![SanType::URI(identity.to_string().try_into()?)];
        let (chain, key) = self.own_certificate(names, now)?;
        let mut trusted = rustls::RootCertStore::empty();
        for root in self.roots().iter() {
            trusted.add(root.clone())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(trusted),
            Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::Authority(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // Each connection proves its identity anew: a resumed one could outlive a removed root.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// TLS of a server of HTTP under these DNS names, with a fresh certificate: for callers that
    /// trust our roots and show no certificate.
    ///
    /// # Errors
    /// A name that is none.
    pub fn web_config(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<rustls::ServerConfig, Error> {
        let names: Result<Vec<SanType>, rcgen::Error> = names
            .iter()
            .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
            .collect();
        let (chain, key) = self.own_certificate(names?, now)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// A fresh key and its chain, the root included.
    fn own_certificate(
        &self,
        names: Vec<SanType>,
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        if self.lifetime(now).is_zero() {
            return Err(Error::Authority(ENDED.into()));
        }
        let key = KeyPair::generate()?;
        let (params, _) = self.leaf(names, now);
        let signer = self.signer();
        let leaf = params.signed_by(&key, &signer.issuer)?;
        let chain = vec![
            leaf.der().clone(),
            signer.intermediate.clone(),
            signer.root.clone(),
        ];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((chain, key))
    }

    /// Every root trusted now.
    pub fn roots(&self) -> Roots {
        Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// SHA-256 of the authority's own root, lower-case hexadecimal: what a join token pins.
    pub fn root_hash(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.signer().root);
        hexadecimal(digest.as_ref())
    }

    /// Lifetime of a leaf.
    pub fn leaf_lifetime(&self) -> Duration {
        self.leaf_lifetime
    }

    /// Reads the trusted roots of the folder again; true if they changed.
    ///
    /// # Errors
    /// A file that is no certificate: what was trusted stays. No root at all.
    pub fn reload_roots(&self) -> Result<bool, Error> {
        match &self.folder {
            Some(folder) => Ok(self.trust(check_roots(folder.roots()?)?)),
            None => Ok(false),
        }
    }

    /// Trusts exactly `found` from now on; true if that is new.
    fn trust(&self, found: Roots) -> bool {
        let mut held = self.roots.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *held != found;
        if changed {
            *held = found;
        }
        changed
    }

    fn signer(&self) -> Arc<Signer> {
        Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long a leaf signed now lives: no longer than what signs it.
    fn lifetime(&self, now: SystemTime) -> Duration {
        self.leaf_lifetime
            .min(remaining(&self.signer().intermediate, now))
    }

    fn leaf(&self, names: Vec<SanType>, now: SystemTime) -> (CertificateParams, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, self.lifetime(now));
        let serial = random_serial();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        (params, hexadecimal(&serial))
    }
}

impl Signer {
    fn of(material: Material) -> Result<Self, Error> {
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&material.intermediate, material.key)?,
            intermediate: material.intermediate,
            root: material.root,
        })
    }
}

/// Trusted roots in one order, each once.
fn check_roots(mut found: Vec<CertificateDer<'static>>) -> Result<Roots, Error> {
    found.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    found.dedup();
    if found.is_empty() || found.len() > MAX_ROOTS {
        return Err(Error::Authority(format!(
            "there are {} trusted roots; 1 to {MAX_ROOTS} are needed",
            found.len()
        )));
    }
    Ok(found.into())
}

/// How many certificates may be signed: a bucket of [`BURST`], filled at [`PER_SECOND`].
struct Rate {
    left: f64,
    at: SystemTime,
}

impl Rate {
    fn full(now: SystemTime) -> Self {
        Self {
            left: BURST,
            at: now,
        }
    }

    fn take(&mut self, now: SystemTime) -> bool {
        let passed = now.duration_since(self.at).unwrap_or_default();
        self.left = (self.left + passed.as_secs_f64() * PER_SECOND).min(BURST);
        self.at = now;
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

const MAX_ROOTS: usize = 16;
const ENDED: &str = "the intermediate has ended: put the root's key back (root/root.key, or the \
     Secret mesh-ca-root) and start the control plane again";
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 50.0;

#[cfg(test)]
mod tests;
