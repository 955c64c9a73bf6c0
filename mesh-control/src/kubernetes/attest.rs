//! Who a pod is, by its ServiceAccount token. May use `kubernetes` and nothing below it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use mesh_api::name::{Name, Namespace, ObjectName};
use mesh_api::resource::pod::Pod;

use crate::kubernetes::object::Object;
use crate::kubernetes::reason;
use crate::kubernetes::topic::Topic;

/// Asks the API server who shows a token.
#[derive(Clone)]
pub struct Attestor {
    client: Client,
}

/// Who showed a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The ServiceAccount's namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Name,
}

/// Why a token was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a token of this cluster, or of another audience, or past its time.
    #[error("the ServiceAccount token is not accepted: {0}")]
    Token(String),
    /// Of something else than a pod's ServiceAccount.
    #[error("the token is of {0}, which is no ServiceAccount")]
    User(String),
    /// Bound to no pod, or to another one.
    #[error("the token is not bound to pod {wanted}{}", .bound.as_ref().map(|pod| format!(" but to {pod}")).unwrap_or_default())]
    Pod {
        /// The pod that asks.
        wanted: ObjectName,
        /// The pod that the token names.
        bound: Option<String>,
    },
    /// The pod is gone, or another one has its name now, or runs as another account.
    #[error("pod {0} is not the one that the token was made for: {1}")]
    Stale(ObjectName, &'static str),
    /// The API server cannot be asked.
    #[error("the API server cannot say whose token it is: {0}")]
    Unavailable(String),
}

impl Attestor {
    /// Asks by `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The account of the pod `workload`, which shows `token`.
    ///
    /// # Errors
    /// A token that is not this pod's, or an API server that cannot be asked.
    pub async fn attest(&self, token: &str, workload: &ObjectName) -> Result<Account, Refused> {
        let asked = async {
            let user = self.review(token, PROXY_AUDIENCE).await?;
            let account = account(&user)?;
            let uid = bound_uid(&user, workload, &account)?;
            self.check_pod(workload, &uid, &account).await?;
            Ok(account)
        };
        tokio::time::timeout(ASK_TIME, asked)
            .await
            .map_err(|_| Refused::Unavailable("no answer within 10 s".into()))?
    }

    /// Who shows `token`, if it is for `audience`.
    ///
    /// # Errors
    /// A token that is not accepted, or an API server that cannot be asked.
    pub async fn review(&self, token: &str, audience: &str) -> Result<UserInfo, Refused> {
        if token.len() > MAX_TOKEN {
            let text = format!("longer than {MAX_TOKEN} bytes");
            return Err(Refused::Token(text));
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: Some(vec![audience.to_owned()]),
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let answer = api
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| Refused::Unavailable(reason(&error)))?;
        let status = answer.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            let text = status.error.unwrap_or_else(|| "it is not known".into());
            return Err(Refused::Token(text));
        }
        // An authenticator that knows no audiences accepts a token for any.
        let audiences = status.audiences.unwrap_or_default();
        if !audiences.iter().any(|known| known == audience) {
            return Err(Refused::Token(format!("it is not for {audience}")));
        }
        Ok(status.user.unwrap_or_default())
    }

    /// The pod lives, is the one of the token, and runs as the account.
    async fn check_pod(
        &self,
        workload: &ObjectName,
        uid: &str,
        account: &Account,
    ) -> Result<(), Refused> {
        let kind = Topic::Kind(mesh_api::resource::Kind::Pod);
        let api: Api<Object> = Api::namespaced_with(
            self.client.clone(),
            workload.namespace.as_str(),
            &kind.resource(),
        );
        let stale = |why| Refused::Stale(workload.clone(), why);
        let found = api
            .get_opt(workload.name.as_str())
            .await
            .map_err(|error| Refused::Unavailable(reason(&error)))?
            .ok_or_else(|| stale("it is gone"))?;
        if found.uid().as_deref() != Some(uid) {
            return Err(stale("another pod has its name now"));
        }
        let pod: Pod = found
            .decode()
            .map_err(|error| Refused::Unavailable(error.to_string()))?;
        if pod.metadata.deletion_timestamp.is_some() && is_over(&pod) {
            return Err(stale("it has ended"));
        }
        let runs_as = pod.spec.service_account_name.as_deref();
        if runs_as.unwrap_or("default") != account.name.as_str() {
            return Err(stale("it runs as another ServiceAccount"));
        }
        Ok(())
    }
}

/// The ServiceAccount that a user of the API server is.
fn account(user: &UserInfo) -> Result<Account, Refused> {
    let name = user.username.as_deref().unwrap_or_default();
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .and_then(|(namespace, name)| {
            Some(Account {
                namespace: namespace.parse().ok()?,
                name: name.parse().ok()?,
            })
        });
    account.ok_or_else(|| Refused::User(name.chars().take(80).collect()))
}

/// The UID of the pod that a token is bound to, which must be `workload`.
fn bound_uid(user: &UserInfo, workload: &ObjectName, account: &Account) -> Result<String, Refused> {
    let none = BTreeMap::new();
    let extra = user.extra.as_ref().unwrap_or(&none);
    let one = |field: &str| match extra.get(field).map(Vec::as_slice) {
        Some([value]) => Some(value.clone()),
        _ => None,
    };
    let name = one("authentication.kubernetes.io/pod-name");
    let uid = one("authentication.kubernetes.io/pod-uid");
    let is_bound =
        account.namespace == workload.namespace && name.as_deref() == Some(workload.name.as_str());
    uid.filter(|_| is_bound).ok_or_else(|| Refused::Pod {
        wanted: workload.clone(),
        bound: name.map(|name| format!("{}/{name}", account.namespace)),
    })
}

fn is_over(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// Whom a proxy's token is for.
const PROXY_AUDIENCE: &str = "mesh.dev/control";
const MAX_TOKEN: usize = 16 * 1024;
const ASK_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, pod: &str, uid: &str) -> UserInfo {
        let extra = [
            ("authentication.kubernetes.io/pod-name", pod),
            ("authentication.kubernetes.io/pod-uid", uid),
        ];
        let extra = extra.map(|(field, value)| (field.to_owned(), vec![value.to_owned()]));
        UserInfo {
            username: Some(name.into()),
            extra: Some(extra.into()),
            ..UserInfo::default()
        }
    }

    #[test]
    fn a_token_names_one_pod_of_one_account() {
        let shop = user("system:serviceaccount:demo:shop", "shop-0", "u1");
        let account = account(&shop).unwrap();
        assert_eq!(account.name.as_str(), "shop");
        let uid = |workload: &str| bound_uid(&shop, &workload.parse().unwrap(), &account);
        assert_eq!(uid("demo/shop-0").unwrap(), "u1");
        for other in ["demo/shop-1", "prod/shop-0"] {
            let refused = uid(other).unwrap_err();
            assert!(
                refused.to_string().ends_with("but to demo/shop-0"),
                "{refused}"
            );
        }
        let unbound = UserInfo {
            extra: None,
            ..shop.clone()
        };
        let refused = bound_uid(&unbound, &"demo/shop-0".parse().unwrap(), &account);
        assert!(matches!(refused, Err(Refused::Pod { bound: None, .. })));
    }

    #[test]
    fn only_service_accounts_join() {
        for name in [
            "kubernetes-admin",
            "system:serviceaccount:demo",
            "",
            "system:node:a",
        ] {
            let refused = account(&user(name, "a", "b")).unwrap_err();
            assert!(matches!(refused, Refused::User(_)), "{name}");
        }
    }
}
