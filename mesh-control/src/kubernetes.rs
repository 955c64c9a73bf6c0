//! The control plane inside Kubernetes: what it reads from the API server, asks it and writes to it.
//!
//! # Rights
//!
//! Everything that the ServiceAccount `mesh-control` needs, and nothing else. Cluster-wide:
//!
//! | group | resources | verbs | for |
//! |---|---|---|---|
//! | core | `services`, `namespaces`, `pods`, `nodes` | get, list, watch | the index; ranges of addresses |
//! | `discovery.k8s.io` | `endpointslices` | get, list, watch | the index |
//! | `networking.k8s.io` | `servicecidrs` | get, list, watch | ranges of addresses |
//! | `apiextensions.k8s.io` | `customresourcedefinitions` | get, list, watch | kinds that are installed later |
//! | `gateway.networking.k8s.io` | `httproutes`, `grpcroutes`, `tlsroutes`, `tcproutes` | get, list, watch | the index |
//! | `gateway.networking.k8s.io` | the same with `/status` | get, patch, update | status |
//! | `mesh.dev` | `*` | get, list, watch | the index |
//! | `mesh.dev` | `*/status` | get, patch, update | status |
//! | `authentication.k8s.io` | `tokenreviews` | create | joins by ServiceAccount, remote administrators |
//! | `authorization.k8s.io` | `subjectaccessreviews` | create | remote administrators |
//! | `admissionregistration.k8s.io` | `mutatingwebhookconfigurations` named `mesh-injector`, `validatingwebhookconfigurations` named `mesh-validator` | get, patch | their `caBundle` |
//!
//! In its own namespace (a Role):
//!
//! | group | resources | verbs | for |
//! |---|---|---|---|
//! | core | `secrets` (no name: create cannot have one) | create | the authority, at the first start |
//! | core | `secrets` named `mesh-ca-root`, `mesh-ca-intermediate` | get, update | the authority; renewal of the intermediate |
//! | core | `configmaps` (no name) | create | the trusted roots, at the first start |
//! | core | `configmaps` named `mesh-ca-roots` | get, update | the trusted roots |
//! | `coordination.k8s.io` | `leases` (no name) | create | the leader |
//! | `coordination.k8s.io` | `leases` named `mesh-control` | get, patch, update | the leader |
//!
//! Who may ask the remote admin side (port 15014) needs, by the same rules: verb `get` on resource
//! `control` of group `admin.mesh.dev` for the control plane's own state, and on `proxies` of that
//! group, by namespace and name, for what is relayed to proxies.
//!
//! May use `publish`, `ca`, `bootstrap`, `telemetry` and `error`.

pub mod attest;
mod backoff;
pub mod bundle;
mod feed;
mod kinds;
pub mod leader;
mod object;
pub mod secrets;
mod topic;
mod watch;

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::error::Error;
pub use feed::{Feed, Synced};

/// A client of the API server: by `kubeconfig`, or as the pod's ServiceAccount.
///
/// # Errors
/// No kubeconfig and no pod, or a kubeconfig that cannot be used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, Error> {
    let action = || "find the API server".to_owned();
    let failed = |error: &dyn std::fmt::Display| Error::Cluster {
        action: action(),
        reason: error.to_string(),
    };
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| failed(&error))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .map_err(|error| failed(&error))?
        }
        None => Config::incluster().map_err(|error| {
            failed(&format!(
                "{error}; outside a pod, name a kubeconfig in kubernetes.kubeconfig"
            ))
        })?,
    };
    config.connect_timeout = Some(CONNECT_TIME);
    Client::try_from(config).map_err(|error| failed(&error))
}

/// What the API server said, and what to do about it.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => format!(
            "{}; the ServiceAccount lacks this right: install again (`meshctl install`), which \
             brings the ClusterRole and Role up to date",
            status.message
        ),
        kube::Error::Api(status) => status.message.clone(),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(error) = cause {
                let said = error.to_string();
                if !text.contains(&said) {
                    text.push_str(": ");
                    text.push_str(&said);
                }
                cause = error.source();
            }
            text
        }
    }
}

/// Names what was tried, for `map_err`.
pub(crate) fn failed(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
    let action = action.into();
    move |error| Error::Cluster {
        action,
        reason: reason(&error),
    }
}

const CONNECT_TIME: Duration = Duration::from_secs(5);
