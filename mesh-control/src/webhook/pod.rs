//! The answer to `/inject`. May use `review`.

use json_patch::Patch;
use kube::core::admission::AdmissionResponse;

use crate::inject::{self, Namespace, Outcome, Settings};
use crate::webhook::review::Asked;

/// Puts a proxy into the pod, or says why it gets none.
pub(super) fn inject(
    asked: &Asked,
    namespace: &Namespace,
    settings: &Settings,
    root_hashes: &[String],
) -> AdmissionResponse {
    let Some(pod) = &asked.object else {
        return asked.allow();
    };
    match inject::inject(pod, namespace, settings, root_hashes) {
        Ok(Outcome::Unchanged(reason)) => {
            tracing::debug!(namespace = namespace.name, reason, "not injected");
            asked.allow()
        }
        Ok(Outcome::Injected(injected)) => {
            let patch: Patch = json_patch::diff(pod, &injected.pod);
            let mut response = match asked.allow().with_patch(patch) {
                Ok(response) => response,
                Err(error) => return asked.deny(&error.to_string()),
            };
            if !injected.warnings.is_empty() {
                response.warnings = Some(injected.warnings);
            }
            response
        }
        Err(refused) => asked.deny(&refused.to_string()),
    }
}
