//! Join tokens: how a process that the mesh does not know yet gets its first certificate.
//!
//! A token names the control plane, pins its root, and says which identity it grants; the control
//! plane authenticates it by its MAC. May use `name`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{Name, Namespace};

const PREFIX: &str = "mesh-join-1";
/// Longest token taken, in bytes.
const MAX_LENGTH: usize = 16 * 1024;

/// What a token grants, readable by its bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claims {
    /// Unique; a one-use token is remembered by it.
    pub id: String,
    /// Where the control plane listens, `ip:port`.
    pub control: String,
    /// SHA-256 of the root certificate's DER, lower-case hexadecimal.
    pub root: String,
    /// Namespace of the identity granted.
    pub namespace: Namespace,
    /// Service account of the identity granted.
    pub service_account: Name,
    /// Services that workloads of this identity may back; empty: any of the namespace.
    #[serde(default)]
    pub services: Vec<Name>,
    /// Seconds since the epoch after which it is refused.
    pub not_after: i64,
    /// Refused after its first use.
    #[serde(default)]
    pub one_use: bool,
}

/// A token: claims and the control plane's MAC over them.
///
/// As text: `mesh-join-1.<hexadecimal JSON claims>.<hexadecimal MAC>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What it grants.
    pub claims: Claims,
    payload: Vec<u8>,
    mac: Vec<u8>,
}

/// Text that is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join token (expected {PREFIX}.<claims>.<mac>); copy it whole")]
pub struct BadToken;

impl JoinToken {
    /// Seals `claims` with `mac`, the keyed hash of the payload.
    ///
    /// # Errors
    /// Never in practice: claims always encode.
    pub fn seal(claims: Claims, mac: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<Self, BadToken> {
        let payload = serde_json::to_vec(&claims).map_err(|_| BadToken)?;
        let mac = mac(&payload);
        Ok(Self {
            claims,
            payload,
            mac,
        })
    }

    /// The bytes under the MAC.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The MAC as received; check it before trusting a claim.
    pub fn mac(&self) -> &[u8] {
        &self.mac
    }
}

impl FromStr for JoinToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut parts = text.trim().split('.');
        let (prefix, payload, mac) = (parts.next(), parts.next(), parts.next());
        if prefix != Some(PREFIX) || parts.next().is_some() || text.len() > MAX_LENGTH {
            return Err(BadToken);
        }
        let payload = payload.and_then(decode_hex).ok_or(BadToken)?;
        let mac = mac.and_then(decode_hex).ok_or(BadToken)?;
        let claims = serde_json::from_slice(&payload).map_err(|_| BadToken)?;
        Ok(Self {
            claims,
            payload,
            mac,
        })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        for part in [&self.payload, &self.mac] {
            f.write_str(".")?;
            part.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back_and_refuse_noise() {
        let claims = Claims {
            id: "1".into(),
            control: "127.0.0.1:15012".into(),
            root: "ab".repeat(32),
            namespace: "demo".parse().unwrap(),
            service_account: "shop".parse().unwrap(),
            services: vec![],
            not_after: 0,
            one_use: true,
        };
        let token = JoinToken::seal(claims, |payload| payload[..2].to_vec()).unwrap();
        let text = token.to_string();
        assert_eq!(text.parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains("mac"), "the MAC is a secret");
        for bad in [
            "",
            "mesh-join-1.7b7d.00",
            text.strip_prefix('m').unwrap(),
            &format!("{text}.00"),
            text.get(..text.len() - 1).unwrap(),
        ] {
            assert_eq!(bad.parse::<JoinToken>(), Err(BadToken), "{bad}");
        }
    }
}
