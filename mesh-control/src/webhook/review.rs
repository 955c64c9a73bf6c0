//! AdmissionReviews as JSON: read, answered, and the answer to `/validate`. May use nothing of
//! `webhook`.
//!
//! The object stays as it was sent: what reads it is what reads files.

use kube::core::admission::{AdmissionResponse, AdmissionReview};
use kube::core::{DynamicObject, Status};
use mesh_api::error::Invalid;
use mesh_api::resource::{MESH_API_VERSION, Resource};
use mesh_api::translate;
use serde::Deserialize;
use serde_json::Value;

/// The part of a review that is answered.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Asked {
    /// Names the review.
    uid: String,
    /// The object's namespace.
    pub(super) namespace: String,
    /// The object; absent when it is deleted.
    pub(super) object: Option<Value>,
}

#[derive(Deserialize)]
struct Review {
    request: Option<Asked>,
}

/// Reads a review.
///
/// # Errors
/// What is none.
pub(super) fn read_review(body: &[u8]) -> Result<Asked, String> {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| format!("AdmissionReview: {error}"))?;
    let asked = review.request.filter(|asked| !asked.uid.is_empty());
    asked.ok_or_else(|| "AdmissionReview: request.uid is missing".to_owned())
}

/// The review that answers.
pub(super) fn answer_review(response: AdmissionResponse) -> AdmissionReview<DynamicObject> {
    response.into_review()
}

impl Asked {
    /// Lets the object in as it is.
    pub(super) fn allow(&self) -> AdmissionResponse {
        let mut response = AdmissionResponse::invalid("");
        response.uid.clone_from(&self.uid);
        response.allowed = true;
        response.result = Status::default();
        response
    }

    /// Keeps it out, and says why.
    pub(super) fn deny(&self, reason: &str) -> AdmissionResponse {
        let mut response = self.allow().deny(reason);
        response.result.reason = "Invalid".into();
        response.result.code = 422;
        response
    }
}

/// Judges the object by itself, as `meshctl validate` does.
pub(super) fn validate(asked: &Asked) -> AdmissionResponse {
    let Some(object) = &asked.object else {
        return asked.allow();
    };
    let faults = faults(object.clone());
    if faults.is_empty() {
        return asked.allow();
    }
    let texts: Vec<String> = faults.iter().map(Invalid::to_string).collect();
    if object.get("apiVersion").and_then(Value::as_str) == Some(MESH_API_VERSION) {
        return asked.deny(&texts.join("\n"));
    }
    let mut response = asked.allow();
    let warnings = texts.into_iter().take(MAX_WARNINGS);
    response.warnings = Some(warnings.map(|text| format!("mesh: {text}")).collect());
    response
}

fn faults(mut object: Value) -> Vec<Invalid> {
    if let Some(object) = object.as_object_mut() {
        // Written by controllers.
        object.remove("status");
    }
    match Resource::from_value(object) {
        Ok(resource) => translate::faults(&resource),
        Err(fault) => vec![fault],
    }
}

/// The API server passes few warnings on.
const MAX_WARNINGS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn review(object: &Value) -> Value {
        let body = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u1", "namespace": "demo", "operation": "CREATE", "object": object},
        });
        let asked = read_review(body.to_string().as_bytes()).unwrap();
        serde_json::to_value(answer_review(validate(&asked))).unwrap()
    }

    #[test]
    fn our_kinds_are_refused_with_the_field() {
        let policy = |timeout: &str| {
            json!({
                "apiVersion": "mesh.dev/v1alpha1", "kind": "TrafficPolicy",
                "metadata": {"name": "a", "namespace": "demo"},
                "spec": {
                    "targetRefs": [{"kind": "Service", "name": "a"}],
                    "timeout": {"request": timeout},
                },
            })
        };
        let good = review(&policy("10s"));
        assert_eq!(good["response"]["allowed"], true, "{good}");
        assert_eq!(good["response"]["uid"], "u1");
        let bad = review(&policy("soon"));
        assert_eq!(bad["response"]["allowed"], false);
        let text = bad["response"]["status"]["message"].as_str().unwrap();
        assert!(text.contains("spec.timeout.request"), "{text}");
        assert_eq!(bad["response"]["status"]["code"], 422);
    }

    #[test]
    fn kinds_of_the_gateway_api_are_warned_about_only() {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "a", "namespace": "demo"},
            "spec": {"parentRefs": [{"name": "edge"}], "shiny": true},
        });
        let answer = review(&route);
        assert_eq!(answer["response"]["allowed"], true, "{answer}");
        let warning = answer["response"]["warnings"][0].as_str().unwrap();
        assert!(warning.contains("shiny"), "{warning}");
    }

    #[test]
    fn what_is_no_review_is_refused() {
        for body in ["", "[]", "{}", "{\"request\":{\"uid\":\"\"}}"] {
            assert!(read_review(body.as_bytes()).is_err(), "{body}");
        }
    }
}
