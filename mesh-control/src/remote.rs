//! The administrators' door from outside the pod: HTTP/1.1 over TLS on port 15014. Whoever calls
//! shows a ServiceAccount token of audience `mesh.dev/admin`, and the API server says who that is and
//! what that one may do:
//!
//! | request | right, group `admin.mesh.dev` |
//! |---|---|
//! | `/proxies/{namespace}/{workload}/{path}`, `/proxy/...` | `get` on `proxies`, of that namespace and name |
//! | `POST /tokens` | `create` on `tokens` |
//! | everything else | `get` on `control` |
//!
//! Paths and answers are those of the Unix socket. May use `admin`, `web` and `kubernetes`.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, header};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::net::TcpListener;

use crate::admin::Admin;
use crate::certificate::SharedTls;
use crate::kubernetes::attest::{Attestor, Refused};
use crate::kubernetes::reason;
use crate::web::{self, Refusal, Stopping};

/// Who may ask, and who answers.
pub(crate) struct Remote {
    /// Asks the API server.
    pub(crate) client: Client,
    /// Answers.
    pub(crate) admin: Arc<Admin>,
}

/// What a request needs.
#[derive(Debug, PartialEq, Eq)]
struct Right {
    verb: &'static str,
    resource: &'static str,
    namespace: Option<String>,
    name: Option<String>,
}

/// Serves remote administrators until dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: SharedTls,
    stopping: Stopping,
    remote: Arc<Remote>,
) {
    let answer = move |request| {
        let remote = Arc::clone(&remote);
        async move {
            let allowed = tokio::time::timeout(ASK_TIME, remote.allow(&request)).await;
            match allowed.unwrap_or_else(|_| Err(unavailable("no answer within 10 s"))) {
                Ok(()) => remote.admin.answer(request).await,
                Err(refusal) => web::refuse(&refusal),
            }
        }
    };
    web::serve(listener, Some(tls), Some(stopping), answer).await;
}

impl Remote {
    async fn allow(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| {
                let text =
                    format!("show a ServiceAccount token for {AUDIENCE} (Authorization: Bearer)");
                Refusal(StatusCode::UNAUTHORIZED, text)
            })?;
        let attestor = Attestor::new(self.client.clone());
        let user = attestor.review(token, AUDIENCE).await;
        let user = user.map_err(|refused| match refused {
            Refused::Unavailable(text) => unavailable(&text),
            other => Refusal(StatusCode::UNAUTHORIZED, other.to_string()),
        })?;
        self.authorise(user, right(request.method(), request.uri().path()))
            .await
    }

    async fn authorise(&self, user: UserInfo, right: Right) -> Result<(), Refusal> {
        let who = user.username.clone().unwrap_or_default();
        let wanted = right.to_string();
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.into()),
                    verb: Some(right.verb.into()),
                    resource: Some(right.resource.into()),
                    namespace: right.namespace,
                    name: right.name,
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| unavailable(&reason(&error)))?;
        if answer.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        let text = format!("{who} may not {wanted}; give it that right by a Role or ClusterRole");
        Err(Refusal(StatusCode::FORBIDDEN, text))
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}.{GROUP}", self.verb, self.resource)?;
        match (&self.namespace, &self.name) {
            (Some(namespace), Some(name)) => write!(f, " {namespace}/{name}"),
            _ => Ok(()),
        }
    }
}

/// The right that a request needs.
fn right(method: &Method, path: &str) -> Right {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let (verb, resource) = match parts.as_slice() {
        ["proxy" | "proxies", namespace, name, ..] => {
            return Right {
                verb: "get",
                resource: "proxies",
                namespace: Some((*namespace).to_owned()),
                name: Some((*name).to_owned()),
            };
        }
        ["tokens", ..] => ("create", "tokens"),
        _ if *method == Method::GET => ("get", "control"),
        // Nothing is changed there yet; what comes must ask for more.
        _ => ("update", "control"),
    };
    Right {
        verb,
        resource,
        namespace: None,
        name: None,
    }
}

fn unavailable(text: &str) -> Refusal {
    let text = format!("the API server cannot say who asks: {text}");
    Refusal(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Whom an administrator's token is for.
const AUDIENCE: &str = "mesh.dev/admin";
const GROUP: &str = "admin.mesh.dev";
const ASK_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_needs_a_right_of_its_own() {
        let of = |method: Method, path: &str| right(&method, path).to_string();
        for (method, path, wanted) in [
            (Method::GET, "/resources", "get control.admin.mesh.dev"),
            (Method::GET, "/proxies", "get control.admin.mesh.dev"),
            (Method::POST, "/tokens", "create tokens.admin.mesh.dev"),
            (
                Method::GET,
                "/proxies/demo/shop-0/config",
                "get proxies.admin.mesh.dev demo/shop-0",
            ),
            (
                Method::POST,
                "/proxy/demo/shop-0/log",
                "get proxies.admin.mesh.dev demo/shop-0",
            ),
            (Method::POST, "/resources", "update control.admin.mesh.dev"),
        ] {
            assert_eq!(of(method, path), wanted, "{path}");
        }
    }
}
