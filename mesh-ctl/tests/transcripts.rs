//! Transcripts of `meshctl` sessions: each file below `transcript/` holds commands and what they
//! printed. The commands are run again and must print the same, but for what is masked.
//!
//! `SNAPSHOTS=overwrite cargo test -p mesh-ctl --test transcripts` writes them anew; the diff is for
//! review.

#[cfg(test)]
mod support {
    pub(crate) mod app;
    pub(crate) mod mesh;
    pub(crate) mod shell;
    pub(crate) mod transcript;
}

use support::app;
use support::mesh::Mesh;
use support::shell::complete;
use support::transcript::Session;

/// Nothing of these needs a mesh.
#[test]
fn offline() {
    let empty = tempfile::tempdir().unwrap();
    let session = Session::offline(empty.path());
    for name in [
        "help",
        "validate",
        "explain",
        "proxy-config-file",
        "token",
        "errors",
        "what-if",
        "install",
    ] {
        session.check(name);
    }
}

/// The same commands a person types beside a running mesh: control plane, two workloads, traffic.
#[test]
fn live() {
    let mesh = Mesh::start();
    let session = Session::live(mesh.state());
    session.check("check-live");
    session.check("get");
    session.check("proxies");
    mesh.call("/items/1", 200);
    mesh.call("/nothing", 404);
    mesh.wait_logged(2);
    session.check("logs");
    names_are_completed(&mesh);
    let watch = mesh.watch(&["proxy-config", "routes", "shop-0"]);
    watch.wait_for("90%");
    mesh.break_route();
    let changed = watch.wait_for("catalog-v9");
    assert!(
        changed.contains("500 (Service demo/catalog-v9 not found) 10%"),
        "{changed}"
    );
    session.check("trouble");
}

/// What a person sees of the apps that run as workloads.
#[test]
fn apps() {
    let mesh = Mesh::start();
    app::calls_at_once(&mesh);
    app::hears_that_its_output_closed(&mesh);
    app::waits_for_listeners(&mesh);
    app::ends_while_it_waits(&mesh);
}

/// Names come from the running control plane; without one there are none, and no word of it.
fn names_are_completed(mesh: &Mesh) {
    for (words, expected) in [
        (
            &["proxy-config", "routes", ""][..],
            &["demo/catalog-v1-0", "demo/shop-0"][..],
        ),
        (&["logs", "demo/s"], &["demo/shop-0"]),
        (&["get", "HTTPRoute", ""], &["demo/catalog"]),
        (
            &["get", "svc", "demo/catalog-"],
            &["demo/catalog-v1", "demo/catalog-v2"],
        ),
        (&["get", "Traf"], &["TrafficPolicy"]),
        (&["get", "svc", "-n", ""], &["demo"]),
        (
            &[
                "proxy-config",
                "routes",
                "shop-0",
                "--service",
                "demo/catalog-v1",
            ],
            &["demo/catalog-v1"],
        ),
        (&["--state", "/nowhere", "proxy-status", ""], &[]),
        (&["check", "--only", "po"], &["policies"]),
    ] {
        assert_eq!(complete(mesh.state(), words), expected, "{words:?}");
    }
}
