//! The proxy's certificate over its life: joining, renewing, and new roots.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::name::ObjectName;
use mesh_api::token::JoinToken;
use mesh_api::wire::generated::{Certificate, JoinRequest, RenewRequest, Roots};
use tonic::Status as RpcStatus;

use crate::bootstrap::{RootHash, ServiceAccountToken};
use crate::config::Shared;
use crate::config::connect::{self, ConnectError, Trust, chain};
use crate::identity::{self, Credentials, IdentityError, Key};

/// Time for one call.
const CALL: Duration = Duration::from_secs(5);
/// Between looks at the clock: a suspended machine renews soon after it wakes.
const LOOK: Duration = Duration::from_secs(30);
/// Waits between failed renewals, first and largest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// No certificate was had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialError {
    #[error("joining: {0}")]
    Connect(#[from] ConnectError),
    #[error("the join token's root hash is not 64 hexadecimal digits")]
    RootHash,
    #[error("cannot read the token of the service account, {path}: {source}")]
    TokenFile {
        path: String,
        source: std::io::Error,
    },
    #[error("certificate: {}", chain(.0))]
    Identity(#[from] IdentityError),
    #[error("certificate refused: {}", .0.message())]
    Refused(#[from] RpcStatus),
    #[error("no answer in time")]
    Late,
    #[error("the certificate is of {0}, not of this workload")]
    Foreign(String),
}

/// What a proxy shows for its first certificate.
#[derive(Debug)]
pub(super) enum Proof {
    /// A token of the mesh's own.
    Token(Box<JoinToken>),
    /// A token of the pod's service account.
    ServiceAccount(ServiceAccountToken),
}

impl Proof {
    /// The hashes of roots that vouch for the control plane.
    fn roots(&self) -> Result<Vec<[u8; 32]>, CredentialError> {
        match self {
            Self::Token(token) => {
                let hash = token.claims.root.parse::<RootHash>();
                Ok(vec![hash.map_err(|_| CredentialError::RootHash)?.0])
            }
            Self::ServiceAccount(token) => Ok(token.root_hashes.iter().map(|h| h.0).collect()),
        }
    }

    /// The call that shows it. A file is read anew at each: tokens of service accounts are renewed.
    fn request(
        &self,
        workload: &ObjectName,
        certificate_request: Vec<u8>,
    ) -> Result<JoinRequest, CredentialError> {
        let mut request = JoinRequest {
            certificate_request,
            ..JoinRequest::default()
        };
        match self {
            Self::Token(token) => request.token = token.to_string(),
            Self::ServiceAccount(token) => {
                let unreadable = |source| CredentialError::TokenFile {
                    path: token.file.display().to_string(),
                    source,
                };
                let text = std::fs::read_to_string(&token.file).map_err(unreadable)?;
                text.trim().clone_into(&mut request.service_account_token);
                request.workload = workload.to_string();
            }
        }
        Ok(request)
    }
}

/// Trades `proof` for a first certificate.
pub(super) async fn join(
    shared: &Shared,
    address: &str,
    proof: &Proof,
    folder: &Path,
) -> Result<(), CredentialError> {
    let channel = connect::connect(address, Trust::Pinned(proof.roots()?)).await?;
    let (key, certificate_request) = identity::anonymous_request()?;
    let request = proof.request(&shared.workload, certificate_request)?;
    let mut client = connect::client(channel);
    let answer = tokio::time::timeout(CALL, client.join(request)).await;
    let certificate = answer.map_err(|_| CredentialError::Late)??.into_inner();
    adopt(shared, certificate, key, folder)
}

/// True if there is a certificate that has not ended.
pub(super) fn is_usable(shared: &Shared) -> bool {
    let held = shared.identity.current();
    held.is_some_and(|held| held.not_after() > now())
}

/// Renews the certificate at its time, for ever.
pub(super) async fn keep_renewed(shared: Arc<Shared>, folder: PathBuf) {
    let mut replaced = shared.identity.watch();
    loop {
        let held = replaced.borrow_and_update().clone();
        let Some(held) = held else {
            if replaced.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = until_renewal(&held) => {}
            () = shared.renew.notified() => {}
            _ = replaced.changed() => continue,
        }
        renew_until_done(&shared, &held, &folder).await;
    }
}

/// Takes a new set of roots for the certificate in use, or asks for a new certificate where it does
/// not lead to one of them.
pub(super) fn take_roots(shared: &Shared, roots: Roots, folder: &Path) {
    let Some(held) = shared.identity.current() else {
        return;
    };
    let current: BTreeSet<&[u8]> = held.roots().iter().map(AsRef::as_ref).collect();
    let new: BTreeSet<&[u8]> = roots.roots.iter().map(Vec::as_slice).collect();
    if current == new {
        return;
    }
    match held.with_roots(roots.roots) {
        Ok(credentials) => install(shared, credentials, folder),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "new roots do not vouch for the certificate; renewing");
            shared.renew.notify_one();
        }
    }
}

async fn until_renewal(held: &Credentials) {
    // Not before a second has passed, so that a certificate that is always due cannot make a storm.
    tokio::time::sleep(RETRY.0).await;
    let time = renewal_time(held.not_before(), held.not_after(), now(), fastrand::f64());
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// When to renew. Of a certificate that is overdue as it is taken (short-lived ones are, for their
/// start is set back), a third of what is left is waited for.
fn renewal_time(not_before: i64, not_after: i64, now: i64, jitter: f64) -> SystemTime {
    let time = identity::renew_at(not_before, not_after, jitter);
    let taken = UNIX_EPOCH + Duration::from_secs(u64::try_from(now).unwrap_or(0));
    if time > taken {
        time
    } else {
        identity::renew_at(now.min(not_after), not_after, jitter)
    }
}

async fn renew_until_done(shared: &Shared, held: &Credentials, folder: &Path) {
    let mut wait = RETRY.0;
    loop {
        match renew(shared, held, folder).await {
            Ok(()) => return,
            Err(error) => shared.telemetry.renewal_failed(&error),
        }
        if held.not_after() <= now() {
            // A dead certificate renews nothing; the stream's task joins anew.
            let mut replaced = shared.identity.watch();
            // One that came while the renewal failed is seen as well.
            let current = replaced.borrow_and_update().clone();
            let newer = current.is_some_and(|new| new.generation() != held.generation());
            if newer || replaced.changed().await.is_ok() {
                return;
            }
        }
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(RETRY.1);
    }
}

async fn renew(shared: &Shared, held: &Credentials, folder: &Path) -> Result<(), CredentialError> {
    let mut channels = shared.channel.subscribe();
    let channel = async {
        let channel = channels.wait_for(Option::is_some).await;
        channel.ok().and_then(|channel| channel.clone())
    };
    let channel = tokio::time::timeout(CALL, channel).await;
    let channel = channel.ok().flatten().ok_or(CredentialError::Late)?;
    let (key, certificate_request) = identity::request(held.identity())?;
    let request = RenewRequest {
        certificate_request,
    };
    let mut client = connect::client(channel);
    let answer = tokio::time::timeout(CALL, client.renew(request)).await;
    let certificate = answer.map_err(|_| CredentialError::Late)??.into_inner();
    adopt(shared, certificate, key, folder)
}

fn adopt(
    shared: &Shared,
    certificate: Certificate,
    key: Key,
    folder: &Path,
) -> Result<(), CredentialError> {
    let credentials = Credentials::new(certificate.chain, certificate.roots, key)?;
    let identity = credentials.identity();
    let held = shared.identity.current();
    let ours = identity.namespace == shared.workload.namespace
        && identity.service_account == shared.service_account;
    if !ours || held.is_some_and(|held| held.identity() != identity) {
        return Err(CredentialError::Foreign(identity.to_string()));
    }
    install(shared, credentials, folder);
    Ok(())
}

/// Puts `credentials` in force; a folder that cannot be written costs a join after a restart, no
/// traffic now.
fn install(shared: &Shared, credentials: Credentials, folder: &Path) {
    if let Err(error) = identity::save(folder, &credentials) {
        tracing::error!(error = %chain(&error), "certificate not kept for a restart");
    }
    shared.telemetry.certificate(credentials.not_after());
    shared.identity.replace(credentials);
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lived_certificates_are_not_renewed_in_a_storm() {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        for (not_before, not_after, now, expected) in [
            (0, 86_400, 10, 28_800),
            (0, 86_400, 43_200, 57_600),
            (880, 1_006, 1_000, 1_002),
            (0, 100, 200, 100),
        ] {
            let time = renewal_time(not_before, not_after, now, 0.0);
            assert_eq!(seconds(time), expected, "{not_before} {not_after} {now}");
        }
    }
}
