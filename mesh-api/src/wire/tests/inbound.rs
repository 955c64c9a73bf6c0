//! Receiving sides as values of chance.

use super::*;
use crate::model::authorization::{Action, Authorization, AuthorizationRule, Callers, Operations};
use crate::model::inbound::{Inbound, InboundPort};

pub(super) fn any_inbound() -> impl Strategy<Value = Inbound> {
    let mode = prop::sample::select(vec![
        MutualTls::Disabled,
        MutualTls::Permissive,
        MutualTls::Strict,
    ]);
    let ports = prop::collection::btree_map(
        1u16..,
        (sourced(mode), any::<bool>(), vec("[a-z]{1,5}", 0..3)),
        0..4,
    );
    let addresses = vec(any::<std::net::IpAddr>(), 0..3);
    let unlisted = option::of(sourced(prop::sample::select(vec![
        MutualTls::Permissive,
        MutualTls::Strict,
    ])));
    let policies = vec(any_authorization(), 0..3);
    let all = (ports, addresses, 1u16.., unlisted, policies);
    all.prop_map(
        |(ports, addresses, tunnel, unlisted, authorizations)| Inbound {
            unlisted,
            authorizations,
            workload: "demo/w".parse().unwrap(),
            identity: "spiffe://cluster.local/ns/demo/sa/x".parse().unwrap(),
            rate_limits: ratelimit::limits(tunnel.into()),
            received_routes: ratelimit::routes(),
            labels: [("app".to_owned(), format!("a{tunnel}"))].into(),
            addresses,
            tunnel_port: Port::new(tunnel).unwrap(),
            ports: ports
                .into_iter()
                .map(
                    |(port, (mutual_tls, has_http_policy, services))| InboundPort {
                        port: Port::new(port).unwrap(),
                        protocol: Protocol::Http,
                        mutual_tls,
                        has_http_policy,
                        services: services
                            .iter()
                            .map(|name| format!("demo/{name}").parse().unwrap())
                            .collect(),
                    },
                )
                .collect(),
        },
    )
}

/// A receiving side with limits alone.
pub(super) fn with_limits(number: u32) -> Inbound {
    Inbound {
        workload: "demo/w".parse().unwrap(),
        identity: "spiffe://cluster.local/ns/demo/sa/x".parse().unwrap(),
        labels: [].into(),
        addresses: Vec::new(),
        tunnel_port: Port::new(15008).unwrap(),
        ports: Vec::new(),
        unlisted: None,
        authorizations: Vec::new(),
        rate_limits: ratelimit::limits(number),
        received_routes: ratelimit::routes(),
    }
}

fn any_authorization() -> impl Strategy<Value = Authorization> {
    let names = || vec("[a-z]{1,5}", 0..3);
    let ports = || vec(1u16.., 0..3);
    let callers = (names(), names(), names(), names()).prop_map(|(a, b, c, d)| {
        let identities = |names: Vec<String>| {
            let texts = names.iter();
            let texts = texts.map(|name| format!("spiffe://cluster.local/ns/demo/sa/{name}"));
            texts.map(|text| text.parse().unwrap()).collect()
        };
        let namespaces = |names: Vec<String>| names.iter().map(|n| n.parse().unwrap()).collect();
        Callers {
            identities: identities(a),
            namespaces: namespaces(b),
            not_identities: identities(c),
            not_namespaces: namespaces(d),
        }
    });
    let operations = (ports(), ports()).prop_map(|(ports, not_ports)| {
        let checked = |ports: Vec<u16>| ports.into_iter().filter_map(Port::new).collect::<Vec<_>>();
        Operations {
            ports: checked(ports),
            not_ports: checked(not_ports),
        }
    });
    let rule = (vec(callers, 0..3), vec(operations, 0..3));
    let rule = rule.prop_map(|(callers, operations)| AuthorizationRule {
        callers,
        operations,
    });
    let action = prop::sample::select(vec![Action::Allow, Action::Deny]);
    ("[a-z]{1,5}", action, any::<bool>(), vec(rule, 0..3)).prop_map(
        |(name, action, audit, rules)| Authorization {
            policy: format!("demo/{name}").parse().unwrap(),
            action,
            audit,
            rules,
        },
    )
}
