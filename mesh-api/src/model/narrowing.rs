//! What a rule asks of a request beyond its matches (our kind `RouteMatch`), and whose requests it takes.

use std::collections::BTreeMap;

use crate::model::path::TextMatch;
use crate::name::{Namespace, ObjectName, Port};

/// Labels of a workload.
pub type Labels = BTreeMap<String, String>;

/// Conditions that narrow a rule: all of them hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowing {
    /// The `RouteMatch` that asks for them.
    pub name: ObjectName,
    /// On a cookie.
    pub cookie: Option<CookieMatch>,
    /// On the caller.
    pub sources: Sources,
    /// On the Service's port that was called.
    pub port: Option<Port>,
}

/// A condition on a cookie; of several of one name the first counts.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieMatch {
    /// Its name, exact.
    pub name: String,
    /// The condition on its value; `None`: any value.
    pub value: Option<TextMatch>,
}

/// Callers; without a condition all of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sources {
    /// Any of these namespaces; empty: any at all.
    pub namespaces: Vec<Namespace>,
    /// Workloads that carry all of these.
    pub labels: Labels,
}

impl Sources {
    /// True if it has no condition.
    pub fn is_anybody(&self) -> bool {
        self.namespaces.is_empty() && self.labels.is_empty()
    }

    /// True if its namespaces take `namespace` in.
    pub fn takes_namespace(&self, namespace: &Namespace) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(namespace)
    }

    /// True if a workload with these labels carries all that it asks for; one whose labels are not known
    /// carries none.
    pub fn takes_labels(&self, labels: Option<&Labels>) -> bool {
        let carries = |(key, value): (&String, &String)| {
            labels.is_some_and(|labels| labels.get(key) == Some(value))
        };
        self.labels.iter().all(carries)
    }

    /// The labels as text: `app=shop, version=v1`.
    pub fn labels_text(labels: &Labels) -> String {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join(", ")
    }
}
