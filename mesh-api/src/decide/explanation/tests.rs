//! Golden transcripts: `MESH_UPDATE=1` writes them anew, review reads the difference.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::decide::tests::{destination, redirect, route, rule, table, with_request};
use crate::model::connection::{
    ConnectionBackend, ConnectionRoute, ConnectionRouteKind, ConnectionRule,
};
use crate::model::origin::{Origin, Sourced};
use crate::model::route::{Action, PathRewrite, Redirect, Rewrite, RouteKind, Rule, Target};

fn canary() -> Rule {
    let mut canary = rule(
        &["prefix /items, method GET", "exact /items.html"],
        &[(1, 90), (2, 10)],
    );
    canary.name = Some("canary".parse().unwrap());
    canary.request_headers.set = vec![("x-canary".parse().unwrap(), "yes".parse().unwrap())];
    canary.response_headers.remove = vec!["server".parse().unwrap()];
    canary.timeouts.request = Sourced::new(
        Some(Duration::from_secs(10)),
        Origin::Field {
            kind: "HTTPRoute".into(),
            object: "demo/main".parse().unwrap(),
            path: "spec.rules[0].timeouts.request".into(),
        },
    );
    if let Action::Forward { backends, rewrite } = &mut canary.action {
        backends[1].request_headers.add =
            vec![("x-version".parse().unwrap(), "2".parse().unwrap())];
        *rewrite = Some(Rewrite {
            hostname: Some("catalog.internal".parse().unwrap()),
            path: Some(PathRewrite::Full("/v".into())),
        });
    }
    canary
}

fn broken_rule() -> Rule {
    let mut broken = rule(&["prefix /broken"], &[(0, 1)]);
    if let Action::Forward { backends, .. } = &mut broken.action {
        backends[0].target = Target::Broken {
            reason: "Service demo/x not found".into(),
        };
    }
    broken
}

fn moved() -> Rule {
    redirect(
        "prefix /old",
        Redirect {
            scheme: Some("https".into()),
            hostname: None,
            path: Some(PathRewrite::Prefix("/new".into())),
            port: None,
            status: 301,
        },
    )
}

#[test]
fn transcripts() {
    let main = vec![
        canary(),
        broken_rule(),
        moved(),
        rule(&["prefix /, header x-user=~a.*"], &[(0, 1)]),
    ];
    let routed = table(vec![route("main", 100, main)]);
    let plain = table(Vec::new());
    let fields = [
        ("Accept", "*/*"),
        ("x-canary", "no"),
        ("content-length", "0"),
        ("x-user", "ann"),
    ];
    for (name, table, line, fields) in [
        ("canary", &routed, "GET /items/7?page=2", &fields[..]),
        ("broken", &routed, "GET /broken", &[]),
        ("redirect", &routed, "POST /old/a?b", &[]),
        ("no-route", &routed, "POST /items", &[]),
        ("plain", &plain, "GET /", &fields[..2]),
    ] {
        let explained = with_request(line, fields, |request, fields| {
            explain(table, request, fields)
        });
        check(name, &explained);
    }
}

#[test]
fn calls() {
    let quote = rule(
        &["call pricing.Pricing/Quote", "call pricing.Pricing/~List.*"],
        &[(1, 1)],
    );
    let mut pricing = route(
        "pricing",
        100,
        vec![rule(&["call audit.Log/*"], &[(2, 1)]), quote],
    );
    pricing.kind = RouteKind::Grpc;
    let table = table(vec![pricing]);
    let grpc = ("content-type", "application/grpc");
    for (name, line, fields) in [
        (
            "grpc",
            "POST /pricing.Pricing/Quote",
            &[grpc, ("grpc-timeout", "250m")][..],
        ),
        ("grpc-no-route", "POST /pricing.Pricing/Delete", &[grpc]),
    ] {
        let explained = with_request(line, fields, |request, fields| {
            explain(&table, request, fields)
        });
        check(name, &explained);
    }
}

#[test]
fn connections() {
    let route = |kind, name: &str, hostnames: &[&str], backends: Vec<(u32, Target)>| {
        let backends = backends
            .into_iter()
            .map(|(weight, target)| ConnectionBackend { weight, target });
        ConnectionRoute {
            kind,
            name: format!("demo/{name}").parse().unwrap(),
            created: 1,
            hostnames: hostnames.iter().map(|host| host.parse().unwrap()).collect(),
            rule: ConnectionRule {
                name: Some("main".parse().unwrap()),
                backends: backends.collect(),
                retry: Sourced::default(),
            },
        }
    };
    let broken = || Target::Broken {
        reason: "Service demo/x not found".into(),
    };
    let (tcp, tls) = (ConnectionRouteKind::Tcp, ConnectionRouteKind::Tls);
    let split = vec![
        (9, Target::Backend(1)),
        (1, broken()),
        (0, Target::Backend(2)),
    ];
    let compile = |routes| {
        let mut destination = destination(Vec::new());
        destination.connection_routes = routes;
        DestinationTable::compile(destination, None).unwrap()
    };
    let split = compile(vec![
        route(tcp, "ledger", &[], split),
        route(tcp, "younger", &[], vec![(1, Target::Backend(0))]),
    ]);
    let named = compile(vec![
        route(
            tls,
            "wide",
            &["*.example.com"],
            vec![(1, Target::Backend(1))],
        ),
        route(
            tls,
            "one",
            &["a.example.com", "b.example.com"],
            vec![(1, Target::Backend(2))],
        ),
    ]);
    let requests = table(vec![crate::decide::tests::route(
        "http",
        1,
        vec![broken_rule()],
    )]);
    for (name, table, server_name) in [
        ("tcp", &split, None),
        ("tls", &named, Some("a.example.com")),
        ("tls-no-route", &named, Some("example.com")),
        ("tcp-plain", &requests, None),
    ] {
        check(name, &explain_connection(table, server_name, None));
    }
}

/// Compares with the case's files, as text and as JSON.
fn check(name: &str, explained: &(impl Display + Serialize)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide/explanation/cases");
    let json = serde_json::to_string_pretty(explained).unwrap();
    for (file, text) in [
        (format!("{name}.txt"), explained.to_string()),
        (format!("{name}.json"), json + "\n"),
    ] {
        let file = folder.join(file);
        if std::env::var_os("MESH_UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, expected, "{}", file.display());
    }
}
