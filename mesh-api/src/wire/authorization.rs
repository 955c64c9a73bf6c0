//! Who may call a workload.

use crate::error::Faults;
use crate::model::authorization::{Action, Authorization, AuthorizationRule, Callers, Operations};
use crate::name::Port;
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write(from: &Authorization) -> wire::Authorization {
    let action = match from.action {
        Action::Allow => wire::AuthorizationAction::Allow,
        Action::Deny => wire::AuthorizationAction::Deny,
    };
    wire::Authorization {
        policy: from.policy.to_string(),
        action: action.into(),
        audit: from.audit,
        rules: from.rules.iter().map(write_rule).collect(),
    }
}

pub(super) fn read(from: &wire::Authorization, faults: &mut Faults) -> Option<Authorization> {
    let policy = read::text("policy", &from.policy, faults);
    let action = read::choice("action", from.action, faults, |action| match action {
        wire::AuthorizationAction::Unspecified => None,
        wire::AuthorizationAction::Allow => Some(Action::Allow),
        wire::AuthorizationAction::Deny => Some(Action::Deny),
    });
    let rules = read::list("rules", &from.rules, MAX_RULES, faults, read_rule);
    Some(Authorization {
        policy: policy?,
        action: action?,
        audit: from.audit,
        rules: rules?,
    })
}

fn write_rule(from: &AuthorizationRule) -> wire::AuthorizationRule {
    wire::AuthorizationRule {
        callers: from.callers.iter().map(write_callers).collect(),
        operations: from.operations.iter().map(write_operations).collect(),
    }
}

fn read_rule(from: &wire::AuthorizationRule, faults: &mut Faults) -> Option<AuthorizationRule> {
    let callers = read::list("callers", &from.callers, MAX_ENTRIES, faults, read_callers);
    let operations = read::list(
        "operations",
        &from.operations,
        MAX_ENTRIES,
        faults,
        read_operations,
    );
    Some(AuthorizationRule {
        callers: callers?,
        operations: operations?,
    })
}

fn write_callers(from: &Callers) -> wire::Callers {
    wire::Callers {
        identities: texts(&from.identities),
        namespaces: texts(&from.namespaces),
        not_identities: texts(&from.not_identities),
        not_namespaces: texts(&from.not_namespaces),
    }
}

fn read_callers(from: &wire::Callers, faults: &mut Faults) -> Option<Callers> {
    let identities = names("identities", &from.identities, faults);
    let namespaces = names("namespaces", &from.namespaces, faults);
    let not_identities = names("notIdentities", &from.not_identities, faults);
    let not_namespaces = names("notNamespaces", &from.not_namespaces, faults);
    Some(Callers {
        identities: identities?,
        namespaces: namespaces?,
        not_identities: not_identities?,
        not_namespaces: not_namespaces?,
    })
}

fn write_operations(from: &Operations) -> wire::Operations {
    let numbers = |ports: &[Port]| ports.iter().map(|port| (*port).into()).collect();
    wire::Operations {
        ports: numbers(&from.ports),
        not_ports: numbers(&from.not_ports),
    }
}

fn read_operations(from: &wire::Operations, faults: &mut Faults) -> Option<Operations> {
    let ports = ports("ports", &from.ports, faults);
    let not_ports = self::ports("notPorts", &from.not_ports, faults);
    Some(Operations {
        ports: ports?,
        not_ports: not_ports?,
    })
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn names<T: std::str::FromStr<Err = crate::name::BadName>>(
    field: &str,
    from: &[String],
    faults: &mut Faults,
) -> Option<Vec<T>> {
    read::list(field, from, MAX_VALUES, faults, |text, f| {
        f.take(text.parse())
    })
}

fn ports(field: &str, from: &[u32], faults: &mut Faults) -> Option<Vec<Port>> {
    read::list(field, from, MAX_VALUES, faults, |number, f| {
        f.take(Port::try_from(*number))
    })
}

const MAX_RULES: usize = 64;
const MAX_ENTRIES: usize = 16;
const MAX_VALUES: usize = 256;
