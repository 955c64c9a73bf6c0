//! What is refused, at which field, with which reason.

use crate::manifest;

/// `path: reason` of every fault of a resource.
pub(super) fn faults(yaml: &str) -> Vec<String> {
    let read = manifest::read("test.yaml", yaml);
    assert!(read.faults.is_empty(), "{}", read.faults[0]);
    super::faults(&read.resources[0].resource)
        .iter()
        .map(ToString::to_string)
        .collect()
}

pub(super) fn route(rule: &str) -> Vec<String> {
    faults(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: r, namespace: demo }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: a }}]\n  rules: [{{ {rule} }}]\n"
    ))
    .into_iter()
    .map(|fault| fault.trim_start_matches("spec.rules[0].").to_owned())
    .collect()
}

pub(super) fn policy(sections: &str) -> Vec<String> {
    faults(&format!(
        "apiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: p, namespace: demo }}\nspec: {{ targetRefs: [{{ kind: Service, name: a }}], {sections} }}\n"
    ))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn rules_are_checked_as_the_gateway_api_says() {
    let path = |kind: &str, value: &str| {
        route(&format!(
            "matches: [{{ path: {{ type: {kind}, value: \"{value}\" }} }}]"
        ))
    };
    for value in ["/", "/a/b/", "/a%20b", "/a:b@c"] {
        assert_eq!(path("PathPrefix", value), [""; 0], "{value}");
    }
    for (value, reason) in [
        ("a", "must start with /"),
        ("/a//b", "must not contain \"//\""),
        ("/a/../b", "must not contain \"/../\""),
        ("/a/./b", "must not contain \"/./\""),
        ("/a%2fb", "must not contain \"%2f\""),
        ("/a%2Fb", "must not contain \"%2F\""),
        ("/a#b", "must not contain \"#\""),
        ("/a/..", "must not end with \"/..\""),
        ("/a/.", "must not end with \"/.\""),
        (
            "/a b",
            "must hold only what a path may: anything else is written as %XX",
        ),
        (
            "/a%2",
            "must hold only what a path may: anything else is written as %XX",
        ),
    ] {
        assert_eq!(
            path("Exact", value),
            [format!("matches[0].path.value: {reason}")],
            "{value}"
        );
    }
    assert!(
        path("RegularExpression", "(")
            .first()
            .unwrap()
            .starts_with("matches[0].path.value: regex parse error")
    );
    for (rule, expected) in [
        (
            "backendRefs: [{ name: a }]",
            "backendRefs[0].port: is missing: a Service is named with its port",
        ),
        (
            "backendRefs: [{ name: a, port: 80, weight: 1000001 }]",
            "backendRefs[0].weight: 1000001 is not between 0 and 1000000",
        ),
        (
            "backendRefs: [{ name: a, port: 0 }]",
            "backendRefs[0].port: 0 is not between 1 and 65535",
        ),
        (
            "timeouts: { request: 1s, backendRequest: 2s }",
            "timeouts.backendRequest: is longer than request",
        ),
        (
            "timeouts: { request: 1.5s }",
            "timeouts.request: \"1.5s\" is not a duration (such as 250ms, 10s or 1h30m)",
        ),
        (
            "retry: { codes: [200] }",
            "retry.codes[0]: 200 is not between 400 and 599",
        ),
        (
            "sessionPersistence: { idleTimeout: 5m }",
            "sessionPersistence.idleTimeout: is not supported: proxies keep no sessions, so none can be idle; use absoluteTimeout",
        ),
        (
            "filters: [{ type: RequestMirror }]",
            "filters[0].requestMirror: is missing: the filter's type asks for it",
        ),
        (
            "filters: [{ type: URLRewrite }]",
            "filters[0].urlRewrite: is missing: the filter's type asks for it",
        ),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 304 } }]",
            "filters[0].requestRedirect.statusCode: 304 is not 301, 302, 303, 307 or 308",
        ),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: {} }], backendRefs: [{ name: a, port: 80 }]",
            "backendRefs: a rule with a RequestRedirect or DirectResponse has no backendRefs",
        ),
        (
            "filters: [{ type: RequestRedirect, requestRedirect: {} }, { type: URLRewrite, urlRewrite: {} }]",
            "filters: has RequestRedirect and URLRewrite, which exclude each other",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-A, value: a }, { name: x-a, value: b }] } }]",
            "filters[0].requestHeaderModifier.set[1].name: x-a is there twice",
        ),
        (
            "filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [Host] } }]",
            "filters[0].requestHeaderModifier.remove[0]: host cannot be changed by a filter: the proxy writes it",
        ),
        (
            "matches: [{ path: { type: Exact, value: /a } }], filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /b } } }]",
            "filters[0].urlRewrite.path.type: ReplacePrefixMatch needs exactly one match, on a PathPrefix",
        ),
    ] {
        assert_eq!(route(rule), [expected], "{rule}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let found = route(
        "matches: [{ path: { value: a }, headers: [{ name: \"a b\", value: x }] }], backendRefs: [{ name: A, port: 80 }], timeouts: { request: x }",
    );
    let paths: Vec<_> = found
        .iter()
        .map(|fault| fault.split(':').next().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "matches[0].path.value",
            "matches[0].headers[0].name",
            "backendRefs[0].name",
            "timeouts.request"
        ]
    );
}

#[test]
fn what_keeps_users_is_checked() {
    for good in [
        "loadBalancing: { algorithm: LeastRequest }",
        "loadBalancing: { algorithm: Random }",
        "loadBalancing: { algorithm: RingHash, hashOn: [{ header: X-User }, { query: u }, { sourceIP: {} }] }",
        "loadBalancing: { algorithm: Maglev, hashOn: [{ cookie: { name: s, ttl: 1h, path: /a } }, { identity: {} }] }",
        "loadBalancing: { algorithm: RoundRobin, slowStart: 30s }",
        "loadBalancing: { slowStart: 1h }",
        "stickiness: { by: { cookie: { name: c, issue: Never } } }",
        "stickiness: { by: { header: x-user }, scope: Endpoint }",
        "stickiness: { by: { cookie: { name: c, sameSite: None, secure: true } }, scope: Backend }",
    ] {
        assert_eq!(policy(good), [""; 0], "{good}");
    }
    for (sections, fault) in [
        (
            "loadBalancing: { algorithm: Maglev }",
            "spec.loadBalancing.hashOn: is needed: Maglev goes by a key of the request",
        ),
        (
            "loadBalancing: { hashOn: [{ header: x }] }",
            "spec.loadBalancing.hashOn: is for RingHash and Maglev: PeakEwma goes by no key",
        ),
        (
            "loadBalancing: { algorithm: RingHash, hashOn: [{ header: x, query: y }] }",
            "spec.loadBalancing.hashOn[0]: sets one of header, cookie, query, sourceIP and identity",
        ),
        (
            "loadBalancing: { algorithm: Maglev, hashOn: [{ header: x }], slowStart: 30s }",
            "spec.loadBalancing.slowStart: is not for Maglev: its keys lead to an endpoint or do not, new or not; leave it out, or choose another algorithm",
        ),
        (
            "loadBalancing: { slowStart: 2h }",
            "spec.loadBalancing.slowStart: is longer than 1h",
        ),
        (
            "loadBalancing: { slowStart: 0s }",
            "spec.loadBalancing.slowStart: must be longer than 0s",
        ),
        (
            "stickiness: { by: {} }",
            "spec.stickiness.by: sets one of header, cookie, query, sourceIP and identity",
        ),
        (
            "stickiness: { by: { cookie: { name: \"a b\" } } }",
            "spec.stickiness.by.cookie.name: \"a b\" is not a cookie's name (letters, digits and !#$%&'*+-.^_`|~, at most 64)",
        ),
        (
            "stickiness: { by: { cookie: { name: a, path: \"/;x\" } } }",
            "spec.stickiness.by.cookie.path: \"/;x\" is not a cookie's path (/, then visible ASCII without ';', at most 256)",
        ),
        (
            "stickiness: { by: { cookie: { name: a, ttl: 500ms } } }",
            "spec.stickiness.by.cookie.ttl: is not in whole seconds",
        ),
        (
            "stickiness: { by: { cookie: { name: a, sameSite: None } } }",
            "spec.stickiness.by.cookie.sameSite: None needs secure: true, or browsers drop the cookie",
        ),
        (
            "stickiness: { by: { cookie: { name: a, issue: Never, secure: true } } }",
            "spec.stickiness.by.cookie.secure: is of a cookie that is made, and issue is Never",
        ),
        (
            "stickiness: { by: { query: \"\" } }",
            "spec.stickiness.by.query: has not 1 to 256 bytes",
        ),
    ] {
        assert_eq!(policy(sections), [fault], "{sections}");
    }
}

#[test]
fn what_does_not_work_yet_is_refused_by_name() {
    assert_eq!(
        policy(
            "timeout: { request: 1s, perTry: 500ms, connect: 1s, idle: 1m }, retry: { attempts: 1, retryOn: { status: [\"502-504\"], conditions: [Reset] }, methods: [PUT], budget: { percent: 50 } }, loadBalancing: { algorithm: RoundRobin }"
        ),
        [""; 0]
    );
    let found = policy("limits: { adaptive: {} }");
    assert_eq!(found, ["spec.limits.adaptive: is not supported yet"]);
}

#[test]
fn absurd_outlier_detection_is_refused_at_its_field() {
    let good = "outlierDetection: { consecutive: { errors5xx: 5, gatewayErrors: 0, localOriginFailures: 1000 }, \
                successRate: { minimumHosts: 3, requestVolume: 100, stdevFactor: 1.9 }, \
                failurePercentage: { threshold: 85, minimumHosts: 3, requestVolume: 50 }, interval: 10s, \
                baseEjection: 30s, maxEjection: 5m, maxEjectedPercent: 50, panicThreshold: 0 }";
    assert_eq!(policy(good), [""; 0]);
    assert_eq!(policy("outlierDetection: {}"), [""; 0]);
    for (section, expected) in [
        (
            "consecutive: { errors5xx: 1001 }",
            "consecutive.errors5xx: 1001 is not between 0 and 1000",
        ),
        (
            "successRate: { stdevFactor: 0 }",
            "successRate.stdevFactor: 0 is not between 0.001 and 100",
        ),
        (
            "successRate: { stdevFactor: 1e9 }",
            "successRate.stdevFactor: 1000000000 is not between 0.001 and 100",
        ),
        (
            "successRate: { minimumHosts: 1 }",
            "successRate.minimumHosts: 1 is not between 2 and 1000",
        ),
        (
            "failurePercentage: { threshold: 101 }",
            "failurePercentage.threshold: 101 is not between 1 and 100",
        ),
        (
            "failurePercentage: { requestVolume: 0 }",
            "failurePercentage.requestVolume: 0 is not between 1 and 1000000",
        ),
        ("interval: 1ms", "interval: is not between 100ms and 3600s"),
        ("interval: 0s", "interval: must be longer than 0s"),
        (
            "baseEjection: 2h",
            "baseEjection: is not between 10ms and 3600s",
        ),
        (
            "baseEjection: 10m, maxEjection: 5m",
            "maxEjection: is shorter than baseEjection",
        ),
        (
            "maxEjectedPercent: 101",
            "maxEjectedPercent: 101 is not between 0 and 100",
        ),
        (
            "panicThreshold: 4000000000",
            "panicThreshold: 4000000000 is not between 0 and 100",
        ),
    ] {
        let found = policy(&format!("outlierDetection: {{ {section} }}"));
        assert_eq!(found, [format!("spec.outlierDetection.{expected}")]);
    }
}

#[test]
fn absurd_health_checks_are_refused_at_their_field() {
    for good in [
        "http: { path: /healthz, expectedStatus: [\"200-299\", \"418\"], host: shop.example, method: HEAD }, \
         interval: 5s, jitter: 10, timeout: 1s, unhealthyAfter: 3, healthyAfter: 2",
        "tcp: {}",
        "grpc: { service: shop.Shop }",
    ] {
        assert_eq!(policy(&format!("healthCheck: {{ {good} }}")), [""; 0]);
    }
    let one = "needs exactly one of http, tcp and grpc";
    for (section, expected) in [
        ("", format!(": {one}")),
        ("tcp: {}, grpc: {}", format!(": {one}")),
        (
            "http: {}",
            ".http.path: is not a path that begins with /, of at most 1024 visible characters".to_owned(),
        ),
        (
            "http: { path: /, method: POST }",
            ".http.method: is not GET, HEAD or OPTIONS".to_owned(),
        ),
        (
            "http: { path: /, expectedStatus: [] }",
            ".http.expectedStatus: is empty: no check could pass".to_owned(),
        ),
        (
            "http: { path: /, expectedStatus: [\"299-200\"] }",
            ".http.expectedStatus[0]: \"299-200\" is not a status or range between 100 and 599 (such as 204 or 200-299)".to_owned(),
        ),
        ("tcp: {}, interval: 1ms", ".interval: is not between 100ms and 3600s".to_owned()),
        ("tcp: {}, timeout: 2m", ".timeout: is not between 10ms and 60s".to_owned()),
        ("tcp: {}, jitter: 101", ".jitter: 101 is not between 0 and 100".to_owned()),
        (
            "tcp: {}, unhealthyAfter: 0",
            ".unhealthyAfter: 0 is not between 1 and 100".to_owned(),
        ),
    ] {
        let found = policy(&format!("healthCheck: {{ {section} }}"));
        assert_eq!(found, [format!("spec.healthCheck{expected}")]);
    }
}

#[test]
fn absurd_limits_are_refused_at_their_field() {
    let good = "limits: { connections: 1, pendingRequests: 0, requests: 1000000, retries: 0, queueTimeout: 1m }";
    assert_eq!(policy(good), [""; 0]);
    for (limits, expected) in [
        (
            "connections: 0",
            "connections: 0 is not between 1 and 1000000",
        ),
        ("requests: 0", "requests: 0 is not between 1 and 1000000"),
        (
            "requests: 4294967295",
            "requests: 4294967295 is not between 1 and 1000000",
        ),
        (
            "pendingRequests: 1000001",
            "pendingRequests: 1000001 is not between 0 and 1000000",
        ),
        (
            "retries: 4000000000",
            "retries: 4000000000 is not between 0 and 1000000",
        ),
        ("queueTimeout: 0s", "queueTimeout: must be longer than 0s"),
        ("queueTimeout: 61s", "queueTimeout: is longer than 1m"),
        (
            "queueTimeout: soon",
            "queueTimeout: \"soon\" is not a duration (such as 250ms, 10s or 1h30m)",
        ),
    ] {
        let found = policy(&format!("limits: {{ {limits} }}"));
        assert_eq!(found, [format!("spec.limits.{expected}")]);
    }
}

#[test]
fn timeouts_are_checked() {
    for section in [
        "streamIdle: 1s, maxStreamDuration: 1h, maxConnectionAge: 10m, propagateDeadline: true",
        "streamIdle: 0s, maxStreamDuration: 0s, maxConnectionAge: 0s, propagateDeadline: false",
    ] {
        assert_eq!(policy(&format!("timeout: {{ {section} }}")), [""; 0]);
    }
    for field in ["streamIdle", "maxStreamDuration", "maxConnectionAge"] {
        let found = policy(&format!("timeout: {{ {field}: 1d }}"));
        let expected =
            format!("spec.timeout.{field}: \"1d\" is not a duration (such as 250ms, 10s or 1h30m)");
        assert_eq!(found, [expected]);
    }
}

#[test]
fn retries_are_checked() {
    for sections in [
        "retry: { retryOn: { responseHeader: x-retry-me, status: [\"500\"] }, retryAfter: Ignore }",
        "retry: { backoff: { jitter: Decorrelated, base: 10ms, max: 10s }, retryAfter: Respect }",
        "retry: { backoff: { jitterMin: 25ms } }",
        "retry: { backoff: { jitter: Equal, base: 1s, max: 1s, jitterMin: 800ms } }",
        "retry: { backoff: { jitter: None, jitterMin: 0s } }",
    ] {
        assert_eq!(policy(sections), [""; 0], "{sections}");
    }
    for (section, expected) in [
        (
            "on: { status: [\"503\"] }",
            "on: is called retryOn: kubectl, as YAML 1.1, reads a bare `on` as `true`",
        ),
        (
            "\"true\": { status: [\"503\"] }",
            "on: is called retryOn: kubectl, as YAML 1.1, reads a bare `on` as `true`",
        ),
        (
            "retryOn: { responseHeader: X-Retry }",
            "retryOn.responseHeader: \"X-Retry\" is not a header name in lower case",
        ),
        (
            "backoff: { jitterMin: 26ms }",
            "backoff.jitterMin: is longer than base",
        ),
        (
            "backoff: { jitter: None, jitterMin: 1ms }",
            "backoff.jitterMin: means nothing where jitter is None",
        ),
        (
            "backoff: { jitter: Decorrelated, jitterMin: 1ms }",
            "backoff.jitterMin: means nothing: Decorrelated never waits less than base",
        ),
        (
            "backoff: { base: 1s, max: 1ms }",
            "backoff.max: is shorter than base",
        ),
    ] {
        let found = policy(&format!("retry: {{ {section} }}"));
        assert_eq!(found, [format!("spec.retry.{expected}")]);
    }
}

#[test]
fn parents_that_nobody_serves_are_refused_and_gateways_left_to_others() {
    let of = |parents: &str| {
        faults(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: r }}\n\
             spec: {{ parentRefs: [{parents}], rules: [{{ filters: [{{ type: ExtensionRef }}] }}] }}\n"
        ))
    };
    let nobody = [
        ("Gateway", "{ name: a }"),
        ("two", "{ name: a }, { name: b }"),
    ];
    for (what, parents) in nobody {
        assert_eq!(of(parents), Vec::<String>::new(), "{what}");
    }
    // With a parent of ours, what the rest says is ours to judge.
    let mixed = of("{ name: a }, { group: '', kind: Service, name: s }");
    assert!(
        mixed
            .iter()
            .all(|fault| fault.starts_with("spec.rules[0].filters"))
    );
    assert!(!mixed.is_empty());
    let other = of("{ group: '', kind: Service, name: s }, { group: x, kind: Other, name: a }");
    assert_eq!(
        other[0],
        "spec.parentRefs[1].kind: a parent of kind Other is not supported yet; a route of the mesh has `group: \"\"` and `kind: Service`"
    );
}
