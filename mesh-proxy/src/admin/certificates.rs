//! The certificates in use as JSON, without any key.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::parse_x509_certificate;

use crate::identity::Credentials;

/// The identity, the chain leaf first, the roots, and this machine's clock.
pub(super) fn certificates(held: &Credentials) -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    json!({
        "identity": held.identity(),
        "serial": held.serial(),
        "notBefore": held.not_before(),
        "notAfter": held.not_after(),
        "generation": format!("{:016x}", held.generation()),
        "chainLength": held.chain().len(),
        "chain": held.chain().iter().map(|der| facts(der)).collect::<Vec<_>>(),
        "roots": held.roots().iter().map(|der| facts(der)).collect::<Vec<_>>(),
        "now": since.unwrap_or_default().as_secs(),
    })
}

/// What one certificate says of itself.
fn facts(der: &[u8]) -> Value {
    let digest = Sha256::digest(der);
    let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let Ok((_, parsed)) = parse_x509_certificate(der) else {
        return json!({ "sha256": hex });
    };
    json!({
        "sha256": hex,
        "subject": parsed.subject().to_string(),
        "issuer": parsed.issuer().to_string(),
        "serial": parsed.tbs_certificate.raw_serial_as_string(),
        "notBefore": parsed.validity().not_before.timestamp(),
        "notAfter": parsed.validity().not_after.timestamp(),
    })
}
