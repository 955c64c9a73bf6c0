#![expect(clippy::unwrap_used, reason = "fixtures are right")]

use super::*;
use crate::fixture::catalog;

const WORKLOAD: &str = r"
apiVersion: v1
kind: Service
metadata: { name: shop, namespace: demo }
spec: { selector: { app: shop }, ports: [{ name: http, port: 80, targetPort: 8080 }, { name: tcp-db, port: 81, targetPort: 5432 }] }
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: { name: w, namespace: demo, labels: { app: shop } }
spec: { address: 127.0.0.2, serviceAccount: shop }
";

/// A policy `demo/<name>` for everything in the namespace, or for a selector within `spec`.
fn policy(name: &str, spec: &str) -> String {
    let target = if spec.contains("selector") {
        ""
    } else {
        "targetRefs: [{ kind: Namespace, name: demo }], "
    };
    format!(
        "---\n{{ apiVersion: mesh.dev/v1alpha1, kind: AuthorizationPolicy, metadata: {{ name: {name}, namespace: demo }}, spec: {{ {target}{spec} }} }}\n"
    )
}

/// What becomes of a call by `peer` (`ns/account`, or `-` in the clear) to `port`.
fn decide(policies: &[String], peer: &str, port: u16) -> (String, Option<String>) {
    let catalog = catalog(&format!("{WORKLOAD}{}", policies.concat()));
    let inbound = catalog.inbound(&"demo/w".parse().unwrap()).unwrap();
    let peer: Option<Identity> = peer.split_once('/').map(|(namespace, account)| {
        let (domain, namespace) = namespace
            .split_once('@')
            .unwrap_or(("cluster.local", namespace));
        format!("spiffe://{domain}/ns/{namespace}/sa/{account}")
            .parse()
            .unwrap()
    });
    let told = explain(&inbound, Port::new(port).unwrap(), peer.as_ref());
    assert_eq!(
        told.allowed,
        told.reason.starts_with("allowed") || told.reason.starts_with("no Auth")
    );
    (told.reason, told.audited)
}

#[test]
fn deny_is_before_allow_and_an_allow_closes() {
    let allow = policy("a", "rules: [{ from: [{ namespaces: [web] }] }]");
    let deny = policy(
        "d",
        "action: Deny, rules: [{ from: [{ identities: ['spiffe://cluster.local/ns/web/sa/bad'] }] }]",
    );
    let nothing = policy("n", "action: Allow");
    let all = policy("all", "rules: [{}]");
    let other = policy(
        "o",
        "selector: { matchLabels: { app: other } }, action: Deny, rules: [{}]",
    );
    let open = "no AuthorizationPolicy asks";
    let by_allow = "allowed by AuthorizationPolicy demo/a spec.rules[0]";
    let by_deny = "denied by AuthorizationPolicy demo/d spec.rules[0]";
    let closed = |name: &str| {
        format!("no rule of an Allow takes it in, such as AuthorizationPolicy demo/{name}")
    };
    for (policies, peer, expected) in [
        (vec![], "web/x", open.to_owned()),
        (vec![], "-", open.to_owned()),
        (vec![&other], "web/x", open.to_owned()),
        (vec![&allow], "web/x", by_allow.to_owned()),
        (vec![&allow], "demo/x", closed("a")),
        (vec![&allow], "-", closed("a")),
        (vec![&allow], "other.domain@web/x", closed("a")),
        (vec![&deny], "web/good", open.to_owned()),
        (vec![&deny], "web/bad", by_deny.to_owned()),
        (vec![&allow, &deny], "web/good", by_allow.to_owned()),
        (vec![&allow, &deny], "web/bad", by_deny.to_owned()),
        (vec![&nothing], "web/x", closed("n")),
        (vec![&nothing, &allow], "web/x", by_allow.to_owned()),
        (
            vec![&all],
            "-",
            "allowed by AuthorizationPolicy demo/all spec.rules[0]".to_owned(),
        ),
    ] {
        let policies: Vec<String> = policies.into_iter().cloned().collect();
        assert_eq!(
            decide(&policies, peer, 8080),
            (expected, None),
            "{peer}: {policies:?}"
        );
    }
}

#[test]
fn rules_ask_for_caller_and_port() {
    let web = "spiffe://cluster.local/ns/web/sa/shop";
    for (action, rule, calls) in [
        (
            "Allow",
            "to: [{ ports: [8080] }]",
            "web/shop:8080 -:8080 !web/shop:5432",
        ),
        (
            "Allow",
            "to: [{ not: { ports: [5432] } }]",
            "web/shop:8080 !web/shop:5432",
        ),
        (
            "Allow",
            "from: [{ namespaces: [web, api] }], to: [{ ports: [8080] }]",
            "web/x:8080 api/x:8080 !web/x:5432 !demo/x:8080",
        ),
        (
            "Allow",
            &format!("from: [{{ identities: ['{web}'], namespaces: [api] }}]"),
            "!web/shop:8080 !api/shop:8080",
        ),
        (
            "Allow",
            &format!("from: [{{ identities: ['{web}'] }}, {{ namespaces: [api] }}]"),
            "web/shop:1 api/shop:1 !web/x:1 !-:1",
        ),
        (
            "Allow",
            "from: [{ not: { namespaces: [test] } }]",
            "web/x:1 !test/x:1 !-:1",
        ),
        (
            "Allow",
            "from: [{ namespaces: [web], not: { identities: ['spiffe://cluster.local/ns/web/sa/bad'] } }]",
            "web/x:1 !web/bad:1",
        ),
        (
            "Deny",
            "from: [{ not: { namespaces: [web] } }]",
            "web/x:1 !test/x:1 !-:1 !other.domain@web/x:1",
        ),
        (
            "Deny",
            "from: [{ namespaces: [web] }], to: [{ ports: [5432] }]",
            "!web/x:5432 web/x:8080 api/x:5432 -:5432",
        ),
        ("Deny", "{}", "!web/x:1 !-:1"),
    ] {
        let rule = if rule == "{}" {
            rule.to_owned()
        } else {
            format!("{{ {rule} }}")
        };
        let policy = [policy("p", &format!("action: {action}, rules: [{rule}]"))];
        for call in calls.split(' ') {
            let (peer, port) = call.trim_start_matches('!').rsplit_once(':').unwrap();
            let (reason, _) = decide(&policy, peer, port.parse().unwrap());
            let refused = reason.starts_with("denied") || reason.starts_with("no rule");
            assert_eq!(
                refused,
                call.starts_with('!'),
                "{action} {rule}: {call}: {reason}"
            );
        }
    }
}

#[test]
fn an_audit_only_tells() {
    let allow = policy("a", "rules: [{ from: [{ namespaces: [web] }] }]");
    let would = policy(
        "b",
        "enforcement: Audit, action: Deny, rules: [{ from: [{ namespaces: [web] }] }]",
    );
    let close = policy(
        "c",
        "enforcement: Audit, rules: [{ from: [{ namespaces: [api] }] }]",
    );
    assert_eq!(
        decide(&[allow.clone(), would.clone()], "web/x", 1),
        (
            "allowed by AuthorizationPolicy demo/a spec.rules[0]".to_owned(),
            Some("denied by AuthorizationPolicy demo/b spec.rules[0]".to_owned())
        )
    );
    let open = "no AuthorizationPolicy asks".to_owned();
    let closed = "no rule of an Allow takes it in, such as AuthorizationPolicy demo/c".to_owned();
    assert_eq!(
        decide(std::slice::from_ref(&close), "web/x", 1),
        (open.clone(), Some(closed))
    );
    assert_eq!(decide(&[close], "api/x", 1), (open, None));
    let (refused, audited) = decide(&[allow, would], "api/x", 1);
    assert!(
        refused.starts_with("no rule") && audited.is_none(),
        "{refused}"
    );
}
