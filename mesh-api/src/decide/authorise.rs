//! Whether a caller may reach a port: Deny before Allow, and what is not known counts against the caller.
//!
//! A caller without an identity came in the clear. It is never within `identities` or `namespaces`; an
//! Allow that asks who calls never takes it in, and a Deny of all but some takes it in. May use `model`.

use std::fmt;

use serde::Serialize;

use crate::model::authorization::{Action, Authorization, AuthorizationRule, Callers, Operations};
use crate::model::inbound::Inbound;
use crate::name::{Identity, Namespace, ObjectName, Port};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorised<'a> {
    /// Why it passes or not.
    pub verdict: Verdict<'a>,
    /// Why it would be refused if every policy were enforced, where it passes.
    pub audited: Option<Denial<'a>>,
}

/// Whether a call passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// No policy asks: no Deny takes it in, and there is no Allow.
    Open,
    /// A rule allows it.
    Allow(RulePlace<'a>),
    /// It is refused.
    Deny(Denial<'a>),
}

/// A rule of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulePlace<'a> {
    /// The policy.
    pub policy: &'a ObjectName,
    /// Its place in `spec.rules`.
    pub rule: usize,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial<'a> {
    /// A rule denies it.
    ByRule(RulePlace<'a>),
    /// None of the policies that allow takes it in; this is the first of them.
    NotAllowed(&'a ObjectName),
}

impl<'a> Denial<'a> {
    /// The policy that decided.
    pub fn policy(&self) -> &'a ObjectName {
        match self {
            Self::ByRule(place) => place.policy,
            Self::NotAllowed(policy) => policy,
        }
    }
}

impl<'a> Authorised<'a> {
    /// Why the call is refused, if it is.
    pub fn denial(&self) -> Option<Denial<'a>> {
        match self.verdict {
            Verdict::Deny(denial) => Some(denial),
            Verdict::Open | Verdict::Allow(_) => None,
        }
    }
}

impl fmt::Display for RulePlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, rule } = self;
        write!(f, "AuthorizationPolicy {policy} spec.rules[{rule}]")
    }
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByRule(place) => write!(f, "denied by {place}"),
            Self::NotAllowed(policy) => write!(
                f,
                "no rule of an Allow takes it in, such as AuthorizationPolicy {policy}"
            ),
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("no AuthorizationPolicy asks"),
            Self::Allow(place) => write!(f, "allowed by {place}"),
            Self::Deny(denial) => denial.fmt(f),
        }
    }
}

/// Decides on a call by `peer` to `port` of the workload of `inbound`.
pub fn authorise<'a>(inbound: &'a Inbound, port: Port, peer: Option<&Identity>) -> Authorised<'a> {
    let call = Call {
        own: &inbound.identity,
        port,
        peer,
    };
    let all = || inbound.authorizations.iter();
    let verdict = call.decide(all().filter(|policy| !policy.audit));
    let audited = match verdict {
        Verdict::Deny(_) => None,
        Verdict::Open | Verdict::Allow(_) => {
            let enforced = call.decide(all());
            Authorised {
                verdict: enforced,
                audited: None,
            }
            .denial()
        }
    };
    Authorised { verdict, audited }
}

struct Call<'c> {
    own: &'c Identity,
    port: Port,
    peer: Option<&'c Identity>,
}

impl Call<'_> {
    fn decide<'a>(&self, policies: impl Iterator<Item = &'a Authorization> + Clone) -> Verdict<'a> {
        let of = |action| {
            let policies = policies.clone();
            policies.filter(move |policy| policy.action == action)
        };
        let found = |action| of(action).find_map(|policy| self.find(policy));
        if let Some(place) = found(Action::Deny) {
            return Verdict::Deny(Denial::ByRule(place));
        }
        match (found(Action::Allow), of(Action::Allow).next()) {
            (Some(place), _) => Verdict::Allow(place),
            (None, Some(first)) => Verdict::Deny(Denial::NotAllowed(&first.policy)),
            (None, None) => Verdict::Open,
        }
    }

    /// The first rule of a policy that takes the call in.
    fn find<'a>(&self, policy: &'a Authorization) -> Option<RulePlace<'a>> {
        let rule = policy
            .rules
            .iter()
            .position(|rule| self.is_in(rule, policy.action))?;
        Some(RulePlace {
            policy: &policy.policy,
            rule,
        })
    }

    fn is_in(&self, rule: &AuthorizationRule, action: Action) -> bool {
        let AuthorizationRule {
            callers,
            operations,
        } = rule;
        let by = |callers: &Callers| self.is_by(callers, action);
        let to = |operations: &Operations| self.is_to(operations);
        (callers.is_empty() || callers.iter().any(by))
            && (operations.is_empty() || operations.iter().any(to))
    }

    fn is_by(&self, callers: &Callers, action: Action) -> bool {
        let Some(peer) = self.peer else {
            return match action {
                Action::Allow => !callers.asks(),
                Action::Deny => callers.identities.is_empty() && callers.namespaces.is_empty(),
            };
        };
        let within = |namespaces: &[Namespace]| {
            peer.trust_domain == self.own.trust_domain && namespaces.contains(&peer.namespace)
        };
        (callers.identities.is_empty() || callers.identities.contains(peer))
            && (callers.namespaces.is_empty() || within(&callers.namespaces))
            && !callers.not_identities.contains(peer)
            && !within(&callers.not_namespaces)
    }

    fn is_to(&self, operations: &Operations) -> bool {
        (operations.ports.is_empty() || operations.ports.contains(&self.port))
            && !operations.not_ports.contains(&self.port)
    }
}

/// A decision on a call, as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorisationExplanation {
    /// The workload, `namespace/name`.
    pub workload: String,
    /// Its port.
    pub port: u16,
    /// Who calls; none in the clear.
    pub peer: Option<String>,
    /// True if the call passes.
    pub allowed: bool,
    /// Why: `allowed by AuthorizationPolicy demo/a spec.rules[0]`.
    pub reason: String,
    /// What a policy that only audits says of it.
    pub audited: Option<String>,
}

/// Explains what becomes of a call.
pub fn explain(inbound: &Inbound, port: Port, peer: Option<&Identity>) -> AuthorisationExplanation {
    let authorised = authorise(inbound, port, peer);
    AuthorisationExplanation {
        workload: inbound.workload.to_string(),
        port: port.number(),
        peer: peer.map(ToString::to_string),
        allowed: authorised.denial().is_none(),
        reason: authorised.verdict.to_string(),
        audited: authorised.audited.map(|denial| denial.to_string()),
    }
}

#[cfg(all(test, feature = "manifest"))]
mod tests;
