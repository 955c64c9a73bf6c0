//! Checks of a certificate request before it is signed. May use nothing of this crate.

use mesh_api::name::Identity;
use rcgen::{CertificateSigningRequestParams, PublicKey, SanType};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// Why a certificate was not issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a PKCS#10 request, or its signature does not verify.
    #[error("certificate request: {0}")]
    Malformed(String),
    /// Another key than ECDSA P-256.
    #[error("certificate request: the key must be ECDSA P-256")]
    KeyType,
    /// It asks for another identity than the caller's.
    #[error("certificate request: it names {asked}, but {granted} is granted")]
    Identity {
        /// What it names.
        asked: String,
        /// What the caller may have.
        granted: String,
    },
    /// Too many certificates at once.
    #[error("too many certificate requests; try again in a second")]
    TooMany,
    /// Signing failed.
    #[error("signing failed: {0}")]
    Failed(String),
}

/// Checks signature, key type and names of `request`, and returns its key.
///
/// A request without a name gets the identity granted: a joining process need not know the trust
/// domain. One with a name must name exactly that identity.
///
/// # Errors
/// The first thing wrong with it.
pub fn check_request(request: &[u8], granted: &Identity) -> Result<PublicKey, Refused> {
    if request.len() > MAX_REQUEST {
        return Err(Refused::Malformed(format!(
            "longer than {MAX_REQUEST} bytes"
        )));
    }
    let malformed = |error: &dyn std::fmt::Display| Refused::Malformed(error.to_string());
    let (rest, parsed) =
        X509CertificationRequest::from_der(request).map_err(|_| malformed(&"not PKCS#10 DER"))?;
    if !rest.is_empty() {
        return Err(malformed(&"bytes after its end"));
    }
    let algorithm = &parsed.certification_request_info.subject_pki.algorithm;
    let curve = algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok())
        .map(|oid| oid.to_id_string());
    if algorithm.algorithm.to_id_string() != EC_PUBLIC_KEY || curve.as_deref() != Some(P256) {
        return Err(Refused::KeyType);
    }
    let request = CertificateSigningRequestParams::from_der(&request.into())
        .map_err(|error| malformed(&error))?;
    let granted = granted.to_string();
    for name in &request.params.subject_alt_names {
        let asked = match name {
            SanType::URI(uri) => uri.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        if asked != granted {
            return Err(Refused::Identity { asked, granted });
        }
    }
    Ok(request.public_key)
}

const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
/// Longest request taken, in bytes.
const MAX_REQUEST: usize = 8 * 1024;
