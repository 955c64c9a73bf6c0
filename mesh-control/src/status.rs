//! Status of each resource: conditions as the Gateway API names them, with the same text as
//! `meshctl validate`. This is the only writer of conditions. May use nothing of this crate.

use mesh_api::error::Invalid;
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
    pub line: usize,
    /// True while an earlier version is in force because the present one was refused, or while a
    /// registration is kept past its lease.
    pub stale: bool,
    /// How it stands.
    pub conditions: Vec<Condition>,
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

/// What was found wrong with a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it was refused.
    pub refused: Vec<Invalid>,
    /// References that name nothing.
    pub unresolved: Vec<Invalid>,
    /// Why another resource wins over it.
    pub conflicts: Vec<Invalid>,
}

/// The conditions that `findings` mean.
pub fn conditions(findings: &Findings) -> Vec<Condition> {
    let accepted = condition(
        "Accepted",
        &findings.refused,
        &Words {
            good: ("True", "Accepted"),
            bad: ("False", "Invalid"),
        },
    );
    let resolved = condition(
        "ResolvedRefs",
        &findings.unresolved,
        &Words {
            good: ("True", "ResolvedRefs"),
            bad: ("False", "RefNotFound"),
        },
    );
    let mut all = vec![accepted, resolved];
    if !findings.conflicts.is_empty() {
        all.push(condition(
            "Conflicted",
            &findings.conflicts,
            &Words {
                good: ("False", "NoConflicts"),
                bad: ("True", "Conflicted"),
            },
        ));
    }
    all
}

/// Status and reason without and with faults.
struct Words {
    good: (&'static str, &'static str),
    bad: (&'static str, &'static str),
}

fn condition(kind: &'static str, faults: &[Invalid], words: &Words) -> Condition {
    let (status, reason) = if faults.is_empty() {
        words.good
    } else {
        words.bad
    };
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Condition {
        kind,
        status,
        reason,
        message: texts.join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_become_messages() {
        let findings = Findings {
            refused: vec![Invalid::new("spec.a", "is bad"), Invalid::new("", "is odd")],
            ..Findings::default()
        };
        let conditions = conditions(&findings);
        let [accepted, resolved] = conditions.as_slice() else {
            panic!("two conditions");
        };
        assert_eq!(
            (accepted.kind, accepted.status, accepted.message.as_str()),
            ("Accepted", "False", "spec.a: is bad\nis odd")
        );
        assert_eq!((resolved.kind, resolved.status), ("ResolvedRefs", "True"));
    }
}
