//! `RateLimitPolicy`: what is refused, which workloads it reaches, and what is said of it.

use super::check::faults;
use super::*;
use crate::model::ratelimit::{Reach, RuleReach};

const ONE: &str = "{ name: one, requests: 10, per: 1s }";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{ name: {name}, namespace: demo }}\nspec: {{ {spec} }}\n"
    )
}

fn refused(spec: &str) -> Vec<String> {
    faults(policy("p", spec).trim_start_matches("---\n"))
}

fn limit(fields: &str) -> Vec<String> {
    let all = refused(&format!(
        "selector: {{}}, limits: [{{ name: one, requests: 10, per: 1s, {fields} }}]"
    ));
    let short = all
        .iter()
        .map(|fault| fault.trim_start_matches("spec.limits[0]."));
    short.map(str::to_owned).collect()
}

#[test]
fn fields_that_do_not_work_yet_are_refused_by_name() {
    let until = "is not supported until instances count together: a limit is Local, of each instance by itself";
    for (fields, expected) in [
        ("scope: Global", format!("scope: Global {until}")),
        ("onUnavailable: Allow", format!("onUnavailable: {until}")),
        (
            "by: [{ claim: sub }]",
            "by[0].claim: is not supported until requests are authenticated by tokens: use identity, header or sourceIP".to_owned(),
        ),
        (
            "match: [{ sourceWorkloads: { matchLabels: { app: a } } }]",
            "match[0].sourceWorkloads: is not known to the receiving side: use sourceNamespaces, or by with identity".to_owned(),
        ),
    ] {
        assert_eq!(limit(fields), [expected], "{fields}");
    }
    assert_eq!(
        limit("scope: Local, onExceeded: { status: 503 }, burst: 5"),
        [""; 0]
    );
}

#[test]
fn absurd_limits_are_refused_at_their_field() {
    let number = "is not between 1 and 1000000";
    for (fields, expected) in [
        ("burst: 0", format!("burst: 0 {number}")),
        ("burst: 1000001", format!("burst: 1000001 {number}")),
        (
            "by: [{}]",
            "by[0]: sets one of identity, header and sourceIP".to_owned(),
        ),
        (
            "by: [{ identity: {}, header: a }]",
            "by[0]: sets one of identity, header and sourceIP".to_owned(),
        ),
        (
            "onExceeded: { status: 200 }",
            "onExceeded.status: 200 is not between 400 and 599".to_owned(),
        ),
    ] {
        assert_eq!(limit(fields), [expected], "{fields}");
    }
    let of = |fields: &str| {
        refused(&format!(
            "selector: {{}}, limits: [{{ name: one, {fields} }}]"
        ))
    };
    for (fields, expected) in [
        ("requests: 0, per: 1s", format!("requests: 0 {number}")),
        ("requests: -1, per: 1s", format!("requests: -1 {number}")),
        (
            "requests: 1, per: 25h",
            "per: is not between 1ms and 24h".to_owned(),
        ),
        (
            "requests: 1, per: 0ms",
            "per: is not between 1ms and 24h".to_owned(),
        ),
        (
            "requests: 2000, per: 1ms",
            "requests: is over 1000000 a second, which limits nothing: leave it out".to_owned(),
        ),
    ] {
        assert_eq!(
            of(fields),
            [format!("spec.limits[0].{expected}")],
            "{fields}"
        );
    }
    let twice = format!("selector: {{}}, limits: [{ONE}, {ONE}]");
    assert_eq!(
        refused(&twice),
        ["spec.limits[1].name: is another limit's too"]
    );
    assert_eq!(
        refused("selector: {}"),
        ["spec: has neither limits nor connections"]
    );
    assert_eq!(
        refused("selector: {}, connections: { perSecond: 0 }"),
        [format!("spec.connections.perSecond: 0 {number}")]
    );
}

#[test]
fn targets_are_checked() {
    for (target, expected) in [
        (
            "{ kind: HTTPRoute, name: r }",
            "spec.connections: is for a Service, a Namespace or workloads, not for a route",
        ),
        (
            "{ kind: Namespace, name: other }",
            "spec.targetRefs[0].name: a policy targets its own namespace, demo",
        ),
    ] {
        let spec =
            format!("targetRefs: [{target}], limits: [{ONE}], connections: {{ perSecond: 1 }}");
        assert_eq!(refused(&spec), [expected], "{target}");
    }
    let said = refused(&format!(
        "targetRefs: [{{ kind: TCPRoute, name: r }}], limits: [{ONE}]"
    ));
    assert!(said.concat().contains("target its Service"), "{said:?}");
    let said = refused(&format!("limits: [{ONE}]"));
    assert_eq!(said, ["spec: sets one of selector and targetRefs"]);
}

/// What policies reach at a workload: `policy: reach`.
fn reached(catalog: &Catalog, workload: &str) -> Vec<String> {
    let inbound = catalog.inbound(&format!("demo/{workload}").parse().unwrap());
    let mut texts = Vec::new();
    for limiting in inbound.unwrap().rate_limits {
        for reach in &limiting.reach {
            let text = match reach {
                Reach::Workload => "all".to_owned(),
                Reach::Port(port) => port.to_string(),
                Reach::Rules(RuleReach {
                    port,
                    route,
                    rule,
                    routing,
                    ..
                }) => {
                    let rule = rule.as_ref().map(ToString::to_string).unwrap_or_default();
                    format!("{port} {route} {rule} {routing}")
                }
            };
            texts.push(format!("{}: {text}", limiting.policy.name));
        }
    }
    texts
}

#[test]
fn policies_add_up_at_the_workloads_that_they_reach() {
    let target = |name: &str, target: &str| {
        policy(name, &format!("targetRefs: [{target}], limits: [{ONE}]"))
    };
    let text = [
        CANARY.to_owned(),
        policy(
            "labels",
            &format!("selector: {{ matchLabels: {{ version: v1 }} }}, limits: [{ONE}]"),
        ),
        target("namespace", "{ kind: Namespace, name: demo }"),
        target("service", "{ kind: Service, name: catalog }"),
        target("port", "{ kind: Service, name: catalog, port: 81 }"),
        target("version", "{ kind: Service, name: catalog-v2 }"),
        target(
            "rule",
            "{ kind: HTTPRoute, name: canary, sectionName: split }",
        ),
        target(
            "missing",
            "{ kind: HTTPRoute, name: canary, sectionName: other }",
        ),
    ];
    let catalog = with(&text.concat());
    assert_eq!(
        reached(&catalog, "v1-0"),
        [
            "labels: all",
            "namespace: all",
            "port: 8081",
            "rule: 8080 demo/canary split 0",
            "service: 8080",
            "service: 8081",
        ]
    );
    assert_eq!(
        reached(&catalog, "v2-0"),
        [
            "namespace: all",
            "port: 8081",
            "rule: 9090 demo/canary split 0",
            "service: 8081",
            "service: 9090",
            "version: 9090",
        ]
    );
    let inbound = catalog.inbound(&"demo/v1-0".parse().unwrap()).unwrap();
    let read: Vec<_> = inbound
        .ports
        .iter()
        .map(|port| port.has_http_policy)
        .collect();
    assert_eq!(
        read,
        [true, false],
        "requests are not read on a port declared as TCP"
    );
    assert_eq!(inbound.received_routes.len(), 1);
    let said = |name: &str| {
        let verdict = catalog
            .verdict(&key(&format!("RateLimitPolicy demo/{name}")))
            .unwrap();
        verdict.conditions[0].to_string()
    };
    assert_eq!(said("rule"), "Accepted=true Accepted");
    assert_eq!(
        said("missing"),
        "Accepted=false TargetNotFound: HTTPRoute demo/canary has no rule other"
    );
}

#[test]
fn rules_whose_requests_a_receiver_cannot_tell_are_said() {
    let route = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: moved, namespace: demo }
spec:
  parentRefs: [{ group: "", kind: Service, name: catalog, port: 80 }]
  rules:
  - filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: /b } } }]
    backendRefs: [{ name: catalog-v1, port: 80 }]
"#;
    let limits = policy(
        "p",
        &format!("targetRefs: [{{ kind: HTTPRoute, name: moved }}], limits: [{ONE}]"),
    );
    let catalog = with(&format!("{route}{limits}"));
    let verdict = catalog.verdict(&key("RateLimitPolicy demo/p")).unwrap();
    assert_eq!(
        verdict.conditions[0].to_string(),
        "Accepted=false UnsupportedValue: HTTPRoute demo/moved spec.rules[0] rewrites the path: a receiver cannot tell its requests; target the Service"
    );
}
