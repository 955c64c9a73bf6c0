//! Golden transcripts: `MESH_UPDATE=1` writes them anew, review reads the difference.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::decide::tests::{redirect, route, rule, table, with_request};
use crate::model::origin::{Origin, Sourced};
use crate::model::route::{Action, PathRewrite, Redirect, Rewrite, Rule, Target};

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

fn broken() -> Rule {
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
        broken(),
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide/explanation/cases");
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
        let json = serde_json::to_string_pretty(&explained).unwrap();
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
}
