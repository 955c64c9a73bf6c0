//! Private keys and certificate requests.

use mesh_api::name::Identity;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::IdentityError;

/// An ECDSA P-256 private key. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct Key {
    pkcs8: Zeroizing<Vec<u8>>,
}

/// Makes a key, and a request (PKCS#10, DER) for a certificate of `identity`: a URI name and no
/// common name.
///
/// # Errors
/// The random source or the encoder fails.
pub fn request(identity: &Identity) -> Result<(Key, Vec<u8>), IdentityError> {
    request_for(vec![SanType::URI(identity.to_string().try_into()?)])
}

/// Makes a key and a request that names nobody: who joins does not know its trust domain yet, and
/// gets the identity that its token grants.
///
/// # Errors
/// The random source or the encoder fails.
pub fn anonymous_request() -> Result<(Key, Vec<u8>), IdentityError> {
    request_for(Vec::new())
}

fn request_for(names: Vec<SanType>) -> Result<(Key, Vec<u8>), IdentityError> {
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.subject_alt_names = names;
    let request = parameters.serialize_request(&pair)?.der().to_vec();
    Ok((Key::from_pkcs8(pair.serialize_der()), request))
}

impl Key {
    /// A key from its PKCS#8 DER; [`super::Credentials::new`] checks that it can be used.
    pub fn from_pkcs8(der: Vec<u8>) -> Self {
        Self {
            pkcs8: Zeroizing::new(der),
        }
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(super) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}
