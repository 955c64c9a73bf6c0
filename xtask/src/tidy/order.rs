//! The order of the modules of each crate: a module uses only those above it.
//!
//! A crate's root (`lib.rs`, `main.rs`) is wiring and stands below all of them. A new module takes
//! its place here and in the code map of `docs/ARCHITECTURE.md`. May use nothing of this crate.

/// A crate's folder and its modules, lowest first.
pub(crate) const ORDER: &[(&str, &[&str])] = &[
    (
        "mesh-api",
        &[
            "error",
            "name",
            "token",
            "model",
            "resource",
            "manifest",
            "wire",
            "translate",
            "explain",
            "snapshot",
            "decide",
            "fixture",
        ],
    ),
    (
        "mesh-proxy",
        &[
            "error",
            "telemetry",
            "drain",
            "bootstrap",
            "identity",
            "config",
            "buffer",
            "copy",
            "h1",
            "h2",
            "tunnel",
            "upstream",
            "filter",
            "leg",
            "context",
            "relay",
            "attempt",
            "exchange",
            "tcp",
            "capture",
            "detect",
            "inbound",
            "outbound",
            "worker",
            "listener",
            "admin",
            "run",
        ],
    ),
    (
        "mesh-control",
        &[
            "error",
            "telemetry",
            "bootstrap",
            "state",
            "lease",
            "ca",
            "status",
            "watch",
            "index",
            "last_good",
            "publish",
            "serve",
            "admin",
        ],
    ),
    ("mesh-ctl", &["source", "render", "command", "demo", "cli"]),
    (
        "xtask",
        &[
            "step",
            "source",
            "codegen",
            "tidy",
            "measure",
            "archive",
            "cache",
            "debian",
            "dist",
            "image",
            "cluster",
            "test",
            "e2e",
            "prove",
            "ci",
            "footprint",
        ],
    ),
    (
        "e2e",
        &[
            "demo",
            "page",
            "yaml",
            "guide",
            "figure",
            "process",
            "tool",
            "mesh",
            "apiserver",
            "cluster",
            "envoy",
            "frame",
            "backend",
            "load",
            "flood",
        ],
    ),
];

/// The modules of a crate, lowest first.
pub(crate) fn of(package: &str) -> &'static [&'static str] {
    let found = ORDER.iter().find(|(name, _)| *name == package);
    found.map(|(_, modules)| *modules).unwrap_or_default()
}
