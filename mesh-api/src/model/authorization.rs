//! Who may call a workload.

use crate::name::{Identity, Namespace, ObjectName, Port};

/// An `AuthorizationPolicy` that applies to a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// The policy.
    pub policy: ObjectName,
    /// What becomes of a call that a rule takes in.
    pub action: Action,
    /// What it would refuse passes and is counted.
    pub audit: bool,
    /// Any of these; an Allow without any allows nothing.
    pub rules: Vec<AuthorizationRule>,
}

/// What becomes of a call that a rule takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It passes, unless a Deny takes it in too.
    Allow,
    /// It is refused.
    Deny,
}

/// Calls: by one of `callers` and to one of `operations`; an empty list takes in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthorizationRule {
    /// Who calls.
    pub callers: Vec<Callers>,
    /// What is called.
    pub operations: Vec<Operations>,
}

/// Callers: one of each list that is not empty, and none of those to leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Who it is.
    pub identities: Vec<Identity>,
    /// Where it is from.
    pub namespaces: Vec<Namespace>,
    /// Who it is not.
    pub not_identities: Vec<Identity>,
    /// Where it is not from.
    pub not_namespaces: Vec<Namespace>,
}

impl Callers {
    /// True if it asks who the caller is.
    pub fn asks(&self) -> bool {
        *self != Self::default()
    }
}

/// What is called: one of `ports` if there are any, and none of `not_ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// The workload's ports.
    pub ports: Vec<Port>,
    /// Its ports that are left out.
    pub not_ports: Vec<Port>,
}
