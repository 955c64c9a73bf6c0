//! The kinds with their schemas, each with a small good object to ask questions with.

use mesh_api::resource::{
    AuthorizationPolicy, DirectResponse, GRPCRoute, HTTPRoute, Kind, Mesh, MutualTLSPolicy,
    RateLimitPolicy, RouteMatch, TCPRoute, TLSRoute, TrafficPolicy, Workload,
};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

/// A kind of the reference.
pub(crate) struct Described {
    /// Its name.
    pub(crate) kind: Kind,
    /// Its JSON Schema, every part in its place.
    pub(crate) schema: Value,
    /// The `spec` of a good object.
    pub(crate) spec: Value,
    /// Fields that are told elsewhere, each with where.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
    /// Fields of free text whose values are names that we know, each with all of them.
    pub(crate) names: &'static [(&'static str, &'static [&'static str])],
}

const TARGETS: &[&str] = &[
    "GRPCRoute",
    "TCPRoute",
    "TLSRoute",
    "ExternalService",
    "Gateway",
];

const PARENTS: &[&str] = &["XMesh"];

const FILTERS: (&str, &str) = (
    "spec.rules[].backendRefs[].filters",
    "as `spec.rules[].filters`, but header changes only",
);

/// Every kind that has a schema of ours, in the order of the page.
pub(crate) fn all() -> Vec<Described> {
    vec![
        Described {
            elsewhere: &[("spec.traffic", "the sections of a TrafficPolicy")],
            ..described::<Mesh>(Kind::Mesh, json!({}))
        },
        described::<Workload>(Kind::Workload, json!({ "address": "10.0.0.1" })),
        Described {
            names: &[("spec.targetRefs[].kind", TARGETS)],
            ..described::<TrafficPolicy>(
                Kind::TrafficPolicy,
                json!({ "targetRefs": [{ "kind": "Service", "name": "a" }] }),
            )
        },
        Described {
            names: &[("spec.targetRefs[].kind", &["Service"])],
            ..described::<MutualTLSPolicy>(
                Kind::MutualTLSPolicy,
                json!({ "selector": {}, "mode": "Strict" }),
            )
        },
        Described {
            names: &[("spec.targetRefs[].kind", &["Service"])],
            ..described::<AuthorizationPolicy>(
                Kind::AuthorizationPolicy,
                json!({ "selector": {}, "rules": [{ "from": [{ "namespaces": ["a"] }], "to": [{ "ports": [80] }] }] }),
            )
        },
        Described {
            names: &[(
                "spec.targetRefs[].kind",
                &["Namespace", "HTTPRoute", "GRPCRoute"],
            )],
            ..described::<RateLimitPolicy>(
                Kind::RateLimitPolicy,
                json!({
                    "targetRefs": [{ "kind": "Service", "name": "a" }],
                    "limits": [{ "name": "a", "requests": 1, "per": "1s", "by": [{ "header": "a" }] }],
                }),
            )
        },
        described::<RouteMatch>(Kind::RouteMatch, json!({ "cookie": { "name": "a" } })),
        described::<DirectResponse>(Kind::DirectResponse, json!({ "status": 503 })),
        route::<HTTPRoute>(Kind::HTTPRoute),
        route::<GRPCRoute>(Kind::GRPCRoute),
        Described {
            spec: with_hostname(route::<TLSRoute>(Kind::TLSRoute).spec),
            ..route::<TLSRoute>(Kind::TLSRoute)
        },
        route::<TCPRoute>(Kind::TCPRoute),
    ]
}

/// A route of the Gateway API.
fn route<T: JsonSchema>(kind: Kind) -> Described {
    let parent = json!({ "group": "", "kind": "Service", "name": "a", "port": 80 });
    Described {
        elsewhere: &[FILTERS],
        names: &[("spec.parentRefs[].kind", PARENTS)],
        ..described::<T>(
            kind,
            json!({ "parentRefs": [parent], "rules": [{ "backendRefs": [{ "name": "a", "port": 80 }] }] }),
        )
    }
}

fn with_hostname(mut spec: Value) -> Value {
    spec["hostnames"] = json!(["a"]);
    spec
}

fn described<T: JsonSchema>(kind: Kind, spec: Value) -> Described {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    Described {
        kind,
        schema: settings.into_generator().into_root_schema_for::<T>().into(),
        spec,
        elsewhere: &[],
        names: &[],
    }
}
