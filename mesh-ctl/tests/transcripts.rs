//! Transcripts of `meshctl` sessions: each file below `transcript/` holds commands and what they
//! printed. The commands are run again and must print the same, but for what is masked.
//!
//! `SNAPSHOTS=overwrite cargo test -p mesh-ctl --test transcripts` writes them anew; the diff is for
//! review.

#[cfg(test)]
mod support {
    pub(crate) mod mesh;
    pub(crate) mod transcript;
}

use support::mesh::Mesh;
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
    mesh.break_route();
    session.check("trouble");
}
