//! Join tokens: minted for administrators, checked and spent by joining processes, and what each
//! identity was granted. May use `state` and `error`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use mesh_api::name::{Identity, Name, ObjectName};
use mesh_api::token::{BadToken, Claims, JoinToken};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::state::{self, hexadecimal};

/// Mints and redeems tokens.
pub struct Tokens {
    key: hmac::Key,
    path: PathBuf,
    record: Mutex<Record>,
}

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not a token at all.
    #[error(transparent)]
    Malformed(#[from] BadToken),
    /// Not minted here, or changed since.
    #[error("the join token was not made by this control plane")]
    Forged,
    /// Past its time.
    #[error("the join token has expired; ask for a new one")]
    Expired,
    /// One use, and used.
    #[error("the join token is good for one use and was used already; ask for a new one")]
    Used,
    /// The use could not be recorded.
    #[error("the use of the join token could not be recorded: {0}")]
    Failed(String),
}

/// What is remembered of tokens.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    /// One-use tokens already used: id to expiry.
    used: BTreeMap<String, i64>,
    /// Services each account may back, `namespace/account`; an empty list is any.
    granted: BTreeMap<ObjectName, Vec<Name>>,
}

impl Tokens {
    /// Opens the tokens kept under `state`; makes their key on first use.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let folder = state.join("ca");
        state::make_folder(&folder)?;
        let key = match state::read(&folder.join("token.key"))? {
            Some(key) if key.len() == KEY_LENGTH => key,
            Some(_) => return Err(Error::Authority("ca/token.key is damaged".into())),
            None => {
                let key = random()?;
                state::write(&folder.join("token.key"), &key)?;
                key.to_vec()
            }
        };
        let path = folder.join("tokens.json");
        let record = match state::read(&path)? {
            Some(text) => serde_json::from_slice(&text)
                .map_err(|error| Error::Authority(format!("ca/tokens.json: {error}")))?,
            None => Record::default(),
        };
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            path,
            record: Mutex::new(record),
        })
    }

    /// Seals `claims`.
    ///
    /// # Errors
    /// Never in practice.
    pub fn mint(&self, claims: Claims) -> Result<JoinToken, BadToken> {
        JoinToken::seal(claims, |payload| {
            hmac::sign(&self.key, payload).as_ref().to_vec()
        })
    }

    /// Checks a token without using it up; `now` in seconds since the epoch.
    ///
    /// # Errors
    /// A token that is malformed, forged, expired or used.
    pub fn check(&self, text: &str, now: i64) -> Result<Claims, Refused> {
        let token: JoinToken = text.parse()?;
        hmac::verify(&self.key, token.payload(), token.mac()).map_err(|_| Refused::Forged)?;
        if token.claims.not_after <= now {
            return Err(Refused::Expired);
        }
        if token.claims.one_use && self.lock().used.contains_key(&token.claims.id) {
            return Err(Refused::Used);
        }
        Ok(token.claims)
    }

    /// Uses up a checked token and remembers what it grants, on disk before this returns.
    ///
    /// # Errors
    /// A one-use token that another caller used meanwhile, or a disk that fails.
    pub fn spend(&self, claims: &Claims, now: i64) -> Result<(), Refused> {
        let account = ObjectName::new(claims.namespace.clone(), claims.service_account.clone());
        let mut record = self.lock();
        let mut changed = false;
        if claims.one_use {
            if record.used.contains_key(&claims.id) {
                return Err(Refused::Used);
            }
            record.used.retain(|_, end| *end > now);
            record.used.insert(claims.id.clone(), claims.not_after);
            changed = true;
        }
        if record.granted.get(&account) != Some(&claims.services) {
            record.granted.insert(account, claims.services.clone());
            changed = true;
        }
        if !changed {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| Refused::Failed(error.to_string());
        let text = serde_json::to_vec(&*record).map_err(|error| failed(&error))?;
        state::write(&self.path, &text).map_err(|error| failed(&error.chain()))
    }

    /// The Services that workloads of `identity` may back, by its latest token; empty: any of its
    /// namespace.
    pub fn granted(&self, identity: &Identity) -> Vec<Name> {
        let account = ObjectName::new(identity.namespace.clone(), identity.service_account.clone());
        self.lock()
            .granted
            .get(&account)
            .cloned()
            .unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fresh id for [`Claims::id`].
///
/// # Errors
/// A system without randomness.
pub fn new_id() -> Result<String, Error> {
    let bytes = random()?;
    Ok(hexadecimal(bytes.get(..16).unwrap_or(&bytes)))
}

fn random() -> Result<[u8; KEY_LENGTH], Error> {
    let mut bytes = [0; KEY_LENGTH];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Error::Authority("the system gives no randomness".into()))?;
    Ok(bytes)
}

const KEY_LENGTH: usize = 32;
