//! Status of each resource: conditions as the Gateway API names them, with the same text as
//! `meshctl validate`. This is the only writer of conditions. May use nothing of this crate.

use std::collections::BTreeMap;

use mesh_api::error::Invalid;
use mesh_api::manifest::ManifestFault;
use mesh_api::translate;
use serde::Serialize;

/// One resource or document, where it was written, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// `HTTPRoute`; empty for a file or document that could not be read.
    pub kind: String,
    /// Its namespace; `None` for a resource of the whole mesh.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The file it is in; `None` for a registration.
    pub file: Option<String>,
    /// The line its document begins at, from 1; 0 if there is none.
    pub line: u32,
    /// True while an earlier version is in force because the present one was refused, or while a
    /// registration is kept past its lease.
    pub stale: bool,
    /// How it stands.
    pub conditions: Vec<Condition>,
    /// What is wrong with it, each fault at its place.
    pub faults: Vec<Fault>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The object in force, where it was asked for and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<serde_json::Value>,
}

/// One fault, at its field and its line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The field; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// From 1; 0 where there is no text to point at.
    pub line: u32,
    /// In characters, from 1; 0 where there is no text to point at.
    pub column: u32,
}

impl Fault {
    /// A fault without a place in a file.
    pub fn of(fault: &Invalid) -> Self {
        Self {
            path: fault.path.clone(),
            reason: fault.reason.clone(),
            line: 0,
            column: 0,
        }
    }

    /// A fault at its place in a file.
    pub fn of_manifest(fault: &ManifestFault) -> Self {
        Self {
            path: fault.path.clone(),
            reason: fault.reason.clone(),
            line: fault.line,
            column: fault.column,
        }
    }

    /// As status messages and `meshctl validate` say it.
    fn text(&self) -> String {
        Invalid::new(self.path.clone(), self.reason.clone()).to_string()
    }
}

/// One condition (Kubernetes `metav1.Condition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `True` or `False`.
    pub status: &'static str,
    /// One word.
    pub reason: &'static str,
    /// The faults, one a line.
    pub message: String,
}

/// Conditions, as the catalogue gives them.
pub fn conditions(judged: &[translate::Condition]) -> Vec<Condition> {
    let of = |condition: &translate::Condition| Condition {
        kind: condition.kind,
        status: if condition.status { "True" } else { "False" },
        reason: condition.reason,
        message: condition.message.clone(),
    };
    judged.iter().map(of).collect()
}

/// The condition of a document that could not be read, or that another one beats.
pub fn refused(fault: &Fault) -> Condition {
    Condition {
        kind: "Accepted",
        status: "False",
        reason: "Invalid",
        message: fault.text(),
    }
}

/// The condition of an object that is not of the shape that its kind has here.
pub fn unsupported(fault: &Fault) -> Condition {
    Condition {
        reason: "UnsupportedValue",
        ..refused(fault)
    }
}

/// The further condition of a document that another one beats.
pub fn conflicted(fault: &Fault) -> Condition {
    Condition {
        kind: "Conflicted",
        status: "True",
        reason: "Conflicted",
        message: fault.text(),
    }
}
