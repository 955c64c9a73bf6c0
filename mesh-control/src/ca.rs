//! The certificate authority: a root that may be taken away, an intermediate that signs, leaves
//! that live a day. May use `state` and `error`.
//!
//! | file under the state folder | what |
//! |---|---|
//! | `root/root.key` | the root's key; only needed to make a new intermediate |
//! | `ca/root.pem` | the root that signed the intermediate |
//! | `ca/intermediate.pem`, `ca/intermediate.key` | what signs leaves |
//! | `roots/*.pem` | every root that is trusted now |

pub mod request;
pub mod token;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::name::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::error::Error;
use crate::state::{self, hexadecimal};
use request::{Refused, check_request};

/// Signs certificates and knows which roots are trusted.
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    intermediate: CertificateDer<'static>,
    root: CertificateDer<'static>,
    leaf_lifetime: Duration,
    roots: RwLock<Roots>,
    rate: Mutex<Rate>,
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
    /// Opens the authority kept under `state`, or makes one on first use.
    ///
    /// The root's key may be absent as long as the intermediate is valid: only beside that key is
    /// one replaced that ends soon.
    ///
    /// # Errors
    /// Files that cannot be used, or an intermediate that has to be renewed without the root's key.
    pub fn open(state: &Path, leaf_lifetime: Duration, now: SystemTime) -> Result<Self, Error> {
        let (online, roots) = (state.join("ca"), state.join("roots"));
        for folder in [state, &online, &roots] {
            state::make_folder(folder)?;
        }
        let existing = read_pair(&online.join("intermediate.pem"), now)?;
        let ends_soon = |text: &CertificateDer<'_>| remaining(text, now) <= INTERMEDIATE_MARGIN;
        let can_replace = state.join("root").join("root.key").exists();
        if !can_replace && existing.as_ref().is_some_and(ends_soon) {
            tracing::warn!("the intermediate ends soon: put root/root.key back and start again");
        }
        let usable = existing.filter(|text| !can_replace || !ends_soon(text));
        let (intermediate, key) = match usable {
            Some(certificate) => (
                certificate,
                read_key(&online.join("intermediate.key"))?.ok_or_else(|| {
                    Error::Authority("ca/intermediate.pem has no ca/intermediate.key".into())
                })?,
            ),
            None => make_intermediate(state, now)?,
        };
        let root = read_certificate(&online.join("root.pem"))?
            .ok_or_else(|| Error::Authority("ca/root.pem is missing".into()))?;
        let authority = Self {
            folder: roots,
            issuer: Issuer::from_ca_cert_der(&intermediate, key)?,
            intermediate,
            root,
            leaf_lifetime,
            roots: RwLock::new(Arc::from([])),
            rate: Mutex::new(Rate::full(now)),
        };
        authority.reload_roots()?;
        Ok(authority)
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
        let (params, serial) = self.leaf(granted, now).map_err(failed)?;
        let request = CertificateSigningRequestParams { params, public_key };
        let leaf = request.signed_by(&self.issuer).map_err(failed)?;
        let chain = vec![leaf.der().clone(), self.intermediate.clone()];
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
        if self.lifetime(now).is_zero() {
            return Err(Error::Authority(ENDED.into()));
        }
        let key = KeyPair::generate()?;
        let (params, _) = self.leaf(identity, now)?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let chain = vec![
            leaf.der().clone(),
            self.intermediate.clone(),
            self.root.clone(),
        ];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
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

    /// Every root trusted now.
    pub fn roots(&self) -> Roots {
        Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// SHA-256 of the authority's own root, lower-case hexadecimal: what a join token pins.
    pub fn root_hash(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.root);
        hexadecimal(digest.as_ref())
    }

    /// Lifetime of a leaf.
    pub fn leaf_lifetime(&self) -> Duration {
        self.leaf_lifetime
    }

    /// Reads the trusted roots again; true if they changed.
    ///
    /// # Errors
    /// A file that is no certificate: what was trusted stays. No root at all.
    pub fn reload_roots(&self) -> Result<bool, Error> {
        let mut found = Vec::new();
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.folder))?.path();
            if path.extension().is_some_and(|kind| kind == "pem") {
                for item in
                    CertificateDer::pem_file_iter(&path).map_err(|error| not_pem(&path, &error))?
                {
                    found.push(item.map_err(|error| not_pem(&path, &error))?);
                }
            }
        }
        found.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        found.dedup();
        if found.is_empty() || found.len() > MAX_ROOTS {
            return Err(Error::Authority(format!(
                "roots/ holds {} certificates; 1 to {MAX_ROOTS} are needed",
                found.len()
            )));
        }
        let mut held = self.roots.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **held != *found;
        if changed {
            *held = found.into();
        }
        Ok(changed)
    }

    /// How long a leaf signed now lives: no longer than what signs it.
    fn lifetime(&self, now: SystemTime) -> Duration {
        self.leaf_lifetime.min(remaining(&self.intermediate, now))
    }

    fn leaf(
        &self,
        identity: &Identity,
        now: SystemTime,
    ) -> Result<(CertificateParams, String), rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
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
        Ok((params, hexadecimal(&serial)))
    }
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

fn make_intermediate(
    state: &Path,
    now: SystemTime,
) -> Result<(CertificateDer<'static>, KeyPair), Error> {
    let (offline, online) = (state.join("root"), state.join("ca"));
    let own = read_certificate(&online.join("root.pem"))?;
    let (root, root_key) = match (own, read_key(&offline.join("root.key"))?) {
        (Some(root), Some(key)) => (root, key),
        (Some(_), None) => {
            return Err(Error::Authority(
                "the intermediate is missing or has ended, and root/root.key is away: put it back"
                    .into(),
            ));
        }
        // A first start that was cut short left a key without a certificate: it is taken up.
        (None, Some(key)) => (make_root(state, &key, now)?, key),
        (None, None) => {
            let key = KeyPair::generate()?;
            (make_root(state, &key, now)?, key)
        }
    };
    let issuer = Issuer::from_ca_cert_der(&root, root_key)?;
    let key = KeyPair::generate()?;
    let mut params = authority_params("mesh intermediate", BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, INTERMEDIATE_LIFETIME);
    let certificate = params.signed_by(&key, &issuer)?;
    // Never a certificate beside another's key, wherever this is cut short.
    state::remove(&online.join("intermediate.pem"))?;
    state::write(
        &online.join("intermediate.key"),
        key.serialize_pem().as_bytes(),
    )?;
    state::write(
        &online.join("intermediate.pem"),
        certificate.pem().as_bytes(),
    )?;
    Ok((certificate.der().clone(), key))
}

fn make_root(
    state: &Path,
    key: &KeyPair,
    now: SystemTime,
) -> Result<CertificateDer<'static>, Error> {
    let offline = state.join("root");
    state::make_folder(&offline)?;
    let mut params = authority_params("mesh root", BasicConstraints::Unconstrained);
    set_validity(&mut params, now, ROOT_LIFETIME);
    let root = params.self_signed(key)?;
    state::write(&offline.join("root.key"), key.serialize_pem().as_bytes())?;
    state::write(&state.join("roots").join("root.pem"), root.pem().as_bytes())?;
    state::write(&state.join("ca").join("root.pem"), root.pem().as_bytes())?;
    Ok(root.der().clone())
}

fn authority_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&random_serial()));
    params
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, lifetime: Duration) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since + lifetime;
}

/// 16 random bytes, positive and never 0 (RFC 5280 section 4.1.2.2).
fn random_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    if aws_lc_rs::rand::fill(&mut serial).is_err() {
        serial = std::array::from_fn(|_| fastrand::u8(..));
    }
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

fn read_pair(path: &Path, now: SystemTime) -> Result<Option<CertificateDer<'static>>, Error> {
    let certificate = read_certificate(path)?;
    Ok(certificate.filter(|der| remaining(der, now) > Duration::ZERO))
}

/// Time until a certificate ends; zero if it cannot be read.
fn remaining(certificate: &CertificateDer<'_>, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    x509_parser::parse_x509_certificate(certificate)
        .ok()
        .and_then(|(_, parsed)| u64::try_from(parsed.validity().not_after.timestamp()).ok())
        .map_or(Duration::ZERO, |end| {
            Duration::from_secs(end).saturating_sub(now)
        })
}

fn read_certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, Error> {
    state::read(path)?
        .map(|text| CertificateDer::from_pem_slice(&text).map_err(|error| not_pem(path, &error)))
        .transpose()
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, Error> {
    let Some(text) = state::read(path)? else {
        return Ok(None);
    };
    let text = String::from_utf8(text)
        .map_err(|_| Error::Authority(format!("{} is not PEM", path.display())))?;
    Ok(Some(KeyPair::from_pem(&text)?))
}

fn not_pem(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Authority(format!("{}: {error}", path.display()))
}

/// How far a peer's clock may be behind.
const CLOCK_SKEW: Duration = Duration::from_mins(2);
const DAY: Duration = Duration::from_hours(24);
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
const INTERMEDIATE_LIFETIME: Duration = DAY.saturating_mul(365);
/// Below this an intermediate is replaced at start.
const INTERMEDIATE_MARGIN: Duration = DAY.saturating_mul(30);
const MAX_ROOTS: usize = 16;
const ENDED: &str =
    "the intermediate has ended: put root/root.key back and start the control plane again";
const BURST: f64 = 500.0;
const PER_SECOND: f64 = 50.0;

#[cfg(test)]
mod tests;
