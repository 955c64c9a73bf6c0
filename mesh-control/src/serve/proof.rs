//! Who may have a first certificate: a join token, or a pod's ServiceAccount token. May use `ca` and
//! `kubernetes`.

use std::sync::Arc;

use mesh_api::name::{Name, Namespace, ObjectName};
use mesh_api::token::Claims;
use mesh_api::wire::generated as wire;
use tonic::Status;

use crate::ca::token::{Refused as TokenRefused, Tokens};
use crate::kubernetes::attest::{Attestor, Refused as AttestRefused};

/// What proofs are checked with.
pub struct Proof {
    /// Join tokens.
    pub tokens: Arc<Tokens>,
    /// ServiceAccount tokens, where there is a cluster.
    pub attestor: Option<Attestor>,
}

/// Who asks.
pub struct Asks {
    /// The namespace of its identity.
    pub namespace: Namespace,
    /// Its service account.
    pub service_account: Name,
    /// The join token, to be spent once the certificate is signed.
    pub claims: Option<Claims>,
}

impl Proof {
    /// Checks what a joining process shows; `now` in seconds since the epoch.
    ///
    /// # Errors
    /// No proof, two of them, or one that does not hold.
    pub async fn check(&self, request: &wire::JoinRequest, now: i64) -> Result<Asks, Status> {
        let wire::JoinRequest {
            token,
            service_account_token,
            workload,
            ..
        } = request;
        if service_account_token.is_empty() {
            let claims = self.tokens.check(token, now).map_err(refuse_token)?;
            return Ok(Asks {
                namespace: claims.namespace.clone(),
                service_account: claims.service_account.clone(),
                claims: Some(claims),
            });
        }
        if !token.is_empty() {
            let text = "a join token or a ServiceAccount token, not both";
            return Err(Status::invalid_argument(text));
        }
        let attestor = self.attestor.as_ref().ok_or_else(|| {
            Status::failed_precondition(
                "this control plane is outside Kubernetes: it takes join tokens only",
            )
        })?;
        let workload: ObjectName = workload
            .parse()
            .map_err(|error| Status::invalid_argument(format!("workload: {error}")))?;
        let attested = attestor.attest(service_account_token, &workload).await;
        let account = attested.map_err(refuse_account)?;
        Ok(Asks {
            namespace: account.namespace,
            service_account: account.name,
            claims: None,
        })
    }

    /// Uses a join token up.
    ///
    /// # Errors
    /// One that another caller used meanwhile.
    pub fn spend(&self, claims: &Claims, now: i64) -> Result<(), Status> {
        self.tokens.spend(claims, now).map_err(refuse_token)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn refuse_token(refused: TokenRefused) -> Status {
    let text = refused.to_string();
    match refused {
        TokenRefused::Malformed(_) => Status::invalid_argument(text),
        TokenRefused::Forged | TokenRefused::Expired => Status::unauthenticated(text),
        TokenRefused::Used => Status::permission_denied(text),
        TokenRefused::Failed(_) => Status::internal(text),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn refuse_account(refused: AttestRefused) -> Status {
    let text = refused.to_string();
    match refused {
        AttestRefused::Token(_) => Status::unauthenticated(text),
        AttestRefused::User(_) | AttestRefused::Pod { .. } | AttestRefused::Stale(..) => {
            Status::permission_denied(text)
        }
        AttestRefused::Unavailable(_) => Status::unavailable(text),
    }
}
