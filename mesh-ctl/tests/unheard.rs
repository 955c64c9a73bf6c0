//! Commands that look at a cluster which does not answer: each says which one, and what helps.

use std::net::TcpListener;
use std::process::{Command, Output};

/// Every command that asks a cluster, as people type it.
const COMMANDS: [&[&str]; 14] = [
    &["install"],
    &["install", "--profile", "ha", "--wait=false", "-o", "json"],
    &["upgrade"],
    &["upgrade", "--dry-run"],
    &["uninstall", "--yes"],
    &["check"],
    &["check", "--pre", "-o", "json"],
    &["proxy-status"],
    &["proxy-config", "all", "deploy/shop.demo"],
    &[
        "explain",
        "http://catalog/",
        "--from",
        "deploy/shop.demo",
        "--live",
    ],
    &["get", "-o", "yaml"],
    &["logs", "deploy/shop.demo"],
    &["demo", "--kubernetes"],
    &["demo", "--kubernetes", "--delete"],
];

#[test]
fn a_cluster_that_does_not_answer_is_named_with_what_helps() {
    // Nobody listens where somebody just did.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    for command in COMMANDS {
        let ended = meshctl(command, &format!("http://{address}"), "there").unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
        assert!(ended.stdout.is_empty(), "{command:?}");
        for part in [
            &format!("the cluster at http://{address} does not answer"),
            "kubectl config get-contexts",
            "--context",
            "refused",
        ] {
            assert!(said.contains(part), "{command:?}: no {part:?} in {said}");
        }
    }
}

#[test]
fn a_context_that_is_not_in_the_kubeconfig_is_named() {
    for command in COMMANDS {
        let ended = meshctl(command, "http://127.0.0.1:1", "elsewhere").unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("elsewhere"), "{command:?}: {said}");
        assert!(said.contains("--kubeconfig"), "{command:?}: {said}");
    }
}

/// meshctl with a kubeconfig whose one context is called `there`.
fn meshctl(words: &[&str], server: &str, context: &str) -> std::io::Result<Output> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: there\n\
         clusters: [{{ name: there, cluster: {{ server: \"{server}\" }} }}]\n\
         users: [{{ name: there, user: {{}} }}]\n\
         contexts: [{{ name: there, context: {{ cluster: there, user: there }} }}]\n"
    );
    std::fs::write(&kubeconfig, config)?;
    Command::new(env!("CARGO_BIN_EXE_meshctl"))
        .args(words)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--context", context])
        .current_dir(folder.path())
        .env_clear()
        .output()
}
