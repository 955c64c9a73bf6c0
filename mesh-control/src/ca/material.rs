//! Roots and intermediates: made, read as PEM, judged by age. Does no I/O. May use `error`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::Error;

/// What an authority signs with, and whom it trusts.
pub struct Material {
    /// What signs leaves.
    pub intermediate: CertificateDer<'static>,
    /// Its key.
    pub key: KeyPair,
    /// What signed it.
    pub root: CertificateDer<'static>,
    /// Every root that is trusted now.
    pub roots: Vec<CertificateDer<'static>>,
}

/// A certificate that signs, with its key.
pub struct Pair {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// The certificate as PEM.
    pub pem: String,
    /// Its key.
    pub key: KeyPair,
}

/// A self-signed root for `key`.
///
/// # Errors
/// Never in practice.
pub fn make_root(key: KeyPair, now: SystemTime) -> Result<Pair, Error> {
    let mut params = authority_params("mesh root", BasicConstraints::Unconstrained);
    set_validity(&mut params, now, ROOT_LIFETIME);
    let root = params.self_signed(&key)?;
    Ok(Pair {
        certificate: root.der().clone(),
        pem: root.pem(),
        key,
    })
}

/// An intermediate with a fresh key, signed by `root`.
///
/// # Errors
/// A root whose key is not its own.
pub fn make_intermediate(
    root: &CertificateDer<'static>,
    root_key: KeyPair,
    now: SystemTime,
) -> Result<Pair, Error> {
    let issuer = Issuer::from_ca_cert_der(root, root_key)?;
    let key = KeyPair::generate()?;
    let mut params = authority_params("mesh intermediate", BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    let lifetime = INTERMEDIATE_LIFETIME.min(remaining(root, now));
    set_validity(&mut params, now, lifetime);
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Pair {
        certificate: certificate.der().clone(),
        pem: certificate.pem(),
        key,
    })
}

/// True if an intermediate is due to be replaced.
pub fn ends_soon(intermediate: &CertificateDer<'_>, now: SystemTime) -> bool {
    remaining(intermediate, now) <= INTERMEDIATE_MARGIN
}

/// Time until a certificate ends; zero if it cannot be read.
pub fn remaining(certificate: &CertificateDer<'_>, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    x509_parser::parse_x509_certificate(certificate)
        .ok()
        .and_then(|(_, parsed)| u64::try_from(parsed.validity().not_after.timestamp()).ok())
        .map_or(Duration::ZERO, |end| {
            Duration::from_secs(end).saturating_sub(now)
        })
}

/// Reads one certificate as PEM; `place` names it in errors.
///
/// # Errors
/// Text that is none.
pub fn read_certificate(place: &str, text: &[u8]) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(text).map_err(|error| not_pem(place, &error))
}

/// Reads every certificate of a PEM text; `place` names it in errors.
///
/// # Errors
/// Text that is none.
pub fn read_certificates(place: &str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    read.map_err(|error| not_pem(place, &error))
}

/// Reads a key as PEM; `place` names it in errors.
///
/// # Errors
/// Text that is none.
pub fn read_key(place: &str, text: &[u8]) -> Result<KeyPair, Error> {
    let text = std::str::from_utf8(text).map_err(|error| not_pem(place, &error))?;
    KeyPair::from_pem(text).map_err(|error| not_pem(place, &error))
}

pub(super) fn set_validity(params: &mut CertificateParams, now: SystemTime, lifetime: Duration) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since + lifetime;
}

/// 16 random bytes, positive and never 0 (RFC 5280 section 4.1.2.2).
pub(super) fn random_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    if aws_lc_rs::rand::fill(&mut serial).is_err() {
        serial = std::array::from_fn(|_| fastrand::u8(..));
    }
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
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

fn not_pem(place: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Authority(format!("{place}: {error}"))
}

/// How far a peer's clock may be behind.
const CLOCK_SKEW: Duration = Duration::from_mins(2);
const DAY: Duration = Duration::from_hours(24);
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
const INTERMEDIATE_LIFETIME: Duration = DAY.saturating_mul(365);
/// Below this an intermediate is replaced.
const INTERMEDIATE_MARGIN: Duration = DAY.saturating_mul(30);
