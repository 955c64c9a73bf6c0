//! Our filters of routes: what they make of a rule, what is refused, and what is missing.

use super::check::faults;
use super::*;
use crate::decide::explanation::{Fields, explain};
use crate::decide::{Caller, Request};
use crate::snapshot::DestinationTable;

const EXTENSIONS: &str = r#"
---
apiVersion: mesh.dev/v1alpha1
kind: RouteMatch
metadata: { name: beta, namespace: demo }
spec: { cookie: { name: beta, type: RegularExpression, value: "1|yes" } }
---
apiVersion: mesh.dev/v1alpha1
kind: RouteMatch
metadata: { name: shop, namespace: demo }
spec: { sourceWorkloads: { matchLabels: { app: shop } }, sourceNamespaces: [demo, web], port: 80 }
---
apiVersion: mesh.dev/v1alpha1
kind: DirectResponse
metadata: { name: closed, namespace: demo }
spec: { status: 503, body: "closed for maintenance" }
"#;

/// A route of `catalog` with these rules, one a line.
fn with_rules(rules: &str) -> Catalog {
    let rules: Vec<String> = rules.lines().map(|rule| format!("  - {rule}\n")).collect();
    let rules = rules.concat();
    catalog(&format!(
        "{BASE}{EXTENSIONS}---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: r, namespace: demo }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: catalog, port: 80 }}]\n  rules:\n{rules}"
    ))
}

const TO_V2: &str = "backendRefs: [{ name: catalog-v2, port: 80 }]";

fn extension(kind: &str, name: &str) -> String {
    format!(
        "{{ type: ExtensionRef, extensionRef: {{ group: mesh.dev, kind: {kind}, name: {name} }} }}"
    )
}

/// What `explain` says of a request from a workload with the label `app`.
fn told(catalog: &Catalog, app: &str, line: &str, fields: &[(&str, &str)]) -> String {
    let consumer = "demo".parse().unwrap();
    let name = "demo/catalog:80".parse().unwrap();
    let entry = catalog.destination(&name, &consumer).unwrap();
    let table = DestinationTable::compile(entry, None).unwrap();
    let labels = [("app".to_owned(), app.to_owned())].into();
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request {
        method,
        scheme: "http",
        authority: "catalog",
        port: 80,
        path,
        query: None,
        headers: &Fields(fields),
        caller: Caller {
            namespace: &consumer,
            labels: Some(&labels),
            service_account: None,
            address: None,
        },
    };
    explain(&table, &request, Fields(fields)).to_string()
}

#[test]
fn a_route_match_narrows_its_rule() {
    let rules = format!(
        "{{ filters: [{}], {TO_V2} }}\n{{ filters: [{}], backendRefs: [{{ name: catalog-v1, port: 80 }}] }}\n{{ backendRefs: [{{ name: catalog, port: 80 }}] }}",
        extension("RouteMatch", "beta"),
        extension("RouteMatch", "shop"),
    );
    let catalog = with_rules(&rules);
    for (app, cookie, backend) in [
        ("other", "beta=1", "catalog-v2"),
        ("other", "a=b; beta=yes", "catalog-v2"),
        ("other", "beta=no", "catalog:"),
        ("other", "x=1", "catalog:"),
        ("shop", "beta=no", "catalog-v1"),
        ("shop", "beta=1", "catalog-v2"),
    ] {
        let text = told(&catalog, app, "GET /", &[("cookie", cookie)]);
        let expected = format!("100 %: forward to demo/{backend}");
        assert!(text.contains(&expected), "{app} {cookie}: {text}");
    }
    let text = told(&catalog, "other", "GET /", &[("cookie", "beta=no")]);
    for miss in [
        "cookie beta is \"no\", not expression 1|yes (RouteMatch demo/beta)",
        "source labels is \"app=other\", not app=shop (RouteMatch demo/shop)",
    ] {
        assert!(text.contains(miss), "{text}");
    }
}

#[test]
fn a_direct_response_answers_for_its_rule() {
    let rule = format!("{{ filters: [{}] }}", extension("DirectResponse", "closed"));
    let text = told(&with_rules(&rule), "shop", "GET /", &[]);
    for line in [
        "100 %: answer 503 by DirectResponse demo/closed",
        "response: set content-type: text/plain; charset=utf-8",
        "| closed for maintenance",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn a_filter_that_is_missing_fails_its_rule_and_comes_back() {
    let rules = format!(
        "{{ matches: [{{ path: {{ value: /beta }} }}], filters: [{}], {TO_V2} }}\n{{ {TO_V2} }}",
        extension("RouteMatch", "gone")
    );
    let mut catalog = with_rules(&rules);
    let key = ResourceKey::namespaced(Kind::HTTPRoute, "demo/r".parse().unwrap());
    let verdict = catalog.verdict(&key).unwrap();
    let missing = "FilterNotFound: RouteMatch demo/gone not found";
    assert_eq!(verdict.resolved_refs, Err(missing.to_owned()));
    let text = told(&catalog, "shop", "GET /beta", &[]);
    assert!(
        text.contains("refuse 500: RouteMatch demo/gone not found")
            && text.contains("mesh-error: origin=outbound; reason=broken-filter"),
        "{text}"
    );
    let text = told(&catalog, "shop", "GET /", &[]);
    assert!(text.contains("forward to demo/catalog-v2"), "{text}");
    catalog.take_touched();
    let found = EXTENSIONS.replace("name: beta, namespace", "name: gone, namespace");
    for located in manifest::read("test.yaml", &found).resources {
        catalog.apply(located.resource);
    }
    let touched = catalog.take_touched();
    let name = "destination/demo/catalog:80".parse().unwrap();
    assert!(touched.concerns(&name));
    assert!(touched.verdicts().any(|touched| *touched == key));
    assert_eq!(catalog.verdict(&key).unwrap().resolved_refs, Ok(()));
}

#[test]
fn a_backend_may_rewrite_and_redirect_for_itself() {
    let catalog = with_rules(
        "{ matches: [{ path: { value: /a } }], filters: [{ type: URLRewrite, urlRewrite: { hostname: rule.example, path: { type: ReplaceFullPath, replaceFullPath: /rule } } }], backendRefs: [{ name: catalog-v1, port: 80, filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /own } } }] }] }\n{ matches: [{ path: { value: /b } }], backendRefs: [{ name: catalog-v2, port: 80, filters: [{ type: RequestRedirect, requestRedirect: { hostname: else.example } }] }] }",
    );
    let text = told(&catalog, "shop", "GET /a/x", &[]);
    assert!(
        text.contains("GET /own/x\n") && text.contains("host: rule.example"),
        "{text}"
    );
    let text = told(&catalog, "shop", "GET /b", &[]);
    assert!(
        text.contains("100 %: redirect 302 to http://else.example/b"),
        "{text}"
    );
}

#[test]
fn cors_answers_a_preflight_for_the_method_that_it_asks_about() {
    let catalog = with_rules(
        "{ matches: [{ method: PUT, headers: [] }], filters: [{ type: CORS, cors: { allowOrigins: [\"https://*.example\"], allowMethods: [PUT], exposeHeaders: [X-Seen] } }], backendRefs: [{ name: catalog-v1, port: 80 }] }",
    );
    let origin = ("origin", "https://shop.example");
    let asks = |method| [origin, ("access-control-request-method", method)];
    let text = told(&catalog, "shop", "OPTIONS /", &asks("PUT"));
    for line in [
        "100 %: answer 200 by CORS preflight",
        "response: set access-control-allow-origin: https://shop.example",
        "response: set access-control-allow-methods: PUT",
        "response: set access-control-max-age: 5",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let text = told(&catalog, "shop", "OPTIONS /", &asks("GET"));
    assert!(text.contains("refuse 404"), "{text}");
    let text = told(&catalog, "shop", "PUT /", &[origin]);
    for line in [
        "forward to demo/catalog-v1",
        "response: set vary: Origin",
        "response: set access-control-expose-headers: x-seen",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

fn rule_faults(rule: &str) -> Vec<String> {
    check::route(rule)
}

#[test]
fn filters_are_checked_where_they_stand() {
    let answer = extension("DirectResponse", "a");
    for (rule, expected) in [
        (
            "filters: [{ type: ExtensionRef }]".to_owned(),
            "filters[0].extensionRef: is missing: the filter's type asks for it",
        ),
        (
            "filters: [{ type: ExtensionRef, extensionRef: { group: x.io, kind: RouteMatch, name: a } }]".to_owned(),
            "filters[0].extensionRef.group: \"x.io\" is not \"mesh.dev\", whose filters are supported",
        ),
        (
            format!("filters: [{}]", extension("Filter", "a")),
            "filters[0].extensionRef.kind: \"Filter\" is not RouteMatch or DirectResponse",
        ),
        (
            format!("filters: [{answer}, {answer}]"),
            "filters: has two DirectResponses, of which only one can answer",
        ),
        (
            format!("filters: [{answer}], backendRefs: [{{ name: a, port: 80 }}]"),
            "backendRefs: a rule with a RequestRedirect or DirectResponse has no backendRefs",
        ),
        (
            format!("filters: [{answer}, {{ type: URLRewrite, urlRewrite: {{ hostname: b }} }}]"),
            "filters: has a DirectResponse beside a RequestRedirect or URLRewrite",
        ),
        (
            format!("backendRefs: [{{ name: a, port: 80, filters: [{answer}] }}]"),
            "backendRefs[0].filters[0].type: ExtensionRef is a filter of a rule, not of a backendRef",
        ),
        (
            "filters: [{ type: CORS, cors: { allowOrigins: [\"https://a/\"] } }]".to_owned(),
            "filters[0].cors.allowOrigins[0]: is not *, nor http:// or https:// with a host (which may start with *.) and perhaps a port",
        ),
        (
            "filters: [{ type: CORS, cors: { allowOrigins: [\"*\", \"http://a\"] } }]".to_owned(),
            "filters[0].cors.allowOrigins: has * beside other origins",
        ),
        (
            "filters: [{ type: CORS, cors: { allowCredentials: true, exposeHeaders: [\"*\"] } }]".to_owned(),
            "filters[0].cors.exposeHeaders: is *, which with allowCredentials would name a field *: list the fields",
        ),
        (
            "filters: [{ type: CORS, cors: { allowMethods: [get] } }]".to_owned(),
            "filters[0].cors.allowMethods[0]: is not * or a method of RFC 9110 or PATCH, in upper case",
        ),
        (
            "filters: [{ type: CORS, cors: { maxAge: 0 } }]".to_owned(),
            "filters[0].cors.maxAge: 0 is not between 1 and 86400",
        ),
    ] {
        assert_eq!(rule_faults(&rule), [expected], "{rule}");
    }
}

#[test]
fn extensions_are_checked_by_themselves() {
    let object = |kind: &str, spec: &str| {
        faults(&format!(
            "apiVersion: mesh.dev/v1alpha1\nkind: {kind}\nmetadata: {{ name: x, namespace: demo }}\nspec: {spec}\n"
        ))
    };
    for (spec, expected) in [
        ("{}", "spec: has no condition: it would narrow nothing"),
        (
            "{ cookie: { name: 'a b' } }",
            "spec.cookie.name: is not the name of a cookie, of 1 to 256 bytes",
        ),
        (
            "{ cookie: { name: a, type: Exact } }",
            "spec.cookie.type: needs a value to compare with",
        ),
        (
            "{ sourceWorkloads: { matchLabels: {} }, port: 80 }",
            "spec.sourceWorkloads.matchLabels: is empty: it would take in every workload",
        ),
    ] {
        assert_eq!(object("RouteMatch", spec), [expected], "{spec}");
    }
    let long = format!("{{ status: 200, body: {} }}", "x".repeat(65_537));
    for (spec, expected) in [
        (
            "{ status: 199 }",
            "spec.status: 199 is not between 200 and 599",
        ),
        (
            "{ status: 204, body: a }",
            "spec.body: must be empty: a response of this status has no content",
        ),
        (
            long.as_str(),
            "spec.body: has 65537 bytes; at most 65536 are allowed",
        ),
        (
            "{ status: 200, contentType: '' }",
            "spec.contentType: is empty",
        ),
    ] {
        assert_eq!(object("DirectResponse", spec), [expected]);
    }
}
