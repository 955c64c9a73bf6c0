//! The Helm chart, by Helm: what it renders is what `meshctl install` applies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use e2e::figure::record;
use e2e::process::{Ended, output};
use e2e::{demo, need, page, tool};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(2);
/// Words that choose values, as both programs take them. Each of a profile, and what changes it.
const VALUES: [&[&str]; 6] = [
    &[],
    &["--set", "cni.enabled=true"],
    &[
        "--set",
        "control.replicas=7",
        "--set",
        "image.registry=registry.example.com/a/b",
    ],
    &[
        "--set",
        "image.tag=v9.9",
        "--set",
        "trustDomain=example.com",
        "--set",
        "clusterDomain=k8s.local",
    ],
    &[
        "--set",
        "proxy.logLevel=debug",
        "--set",
        "proxy.memoryLimit=1Gi",
        "--set",
        "proxy.drainSeconds=45",
    ],
    &[
        "--set",
        "control.priorityClass=",
        "--set",
        "webhook.timeoutSeconds=5",
    ],
];

/// Objects by kind, namespace and name.
type Objects = BTreeMap<String, Value>;

#[tokio::test]
#[ignore = "needs Helm, which it installs: cargo xtask e2e"]
async fn chart_renders_what_install_applies() -> anyhow::Result<()> {
    let helm = need!("chart", tool::helm());
    let chart = page::root()?.join("charts/mesh");
    let (mut compared, mut renderings) = (0, 0);
    let mut seen = Vec::new();
    for profile in ["default", "ha", "minimal"] {
        let file = match profile {
            "default" => chart.join("values.yaml"),
            other => chart.join(format!("values-{other}.yaml")),
        };
        for values in VALUES {
            let file: &Path = &file;
            let by_helm = template(&helm, &chart, file, values).await?.good()?;
            let by_helm = objects(&by_helm)?;
            let mut install = Command::new(demo::meshctl()?);
            install.args(["install", "--dry-run", "--profile", profile]);
            let ours = output(install.args(values), LIMIT).await?.good()?;
            let ours = objects(&ours)?;
            let differing = differing(&by_helm, &ours);
            ensure!(
                differing.is_empty(),
                "{profile} {values:?}: {} differ: {}",
                differing.len(),
                differing.join("\n")
            );
            compared += ours.len();
            renderings += 1;
            // Values that change nothing would prove nothing.
            ensure!(
                !seen.contains(&ours),
                "{profile} {values:?} changes nothing"
            );
            seen.push(ours);
        }
    }
    record(
        "chart",
        format!("{compared} of {compared} objects alike in {renderings} renderings"),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs Helm, which it installs: cargo xtask e2e"]
async fn chart_refuses_what_install_refuses() -> anyhow::Result<()> {
    let helm = need!("chart", tool::helm());
    let chart = page::root()?.join("charts/mesh");
    let file = chart.join("values.yaml");
    for (words, said) in [
        (&["--set", "control.replica=3"][..], "replica"),
        (&["--set", "control.replicas=many"], "replicas"),
        (&["--kube-version", "1.30"], "kubeVersion"),
    ] {
        let refused = template(&helm, &chart, &file, words).await?;
        ensure!(!refused.status.success(), "{words:?} is taken");
        ensure!(refused.error.contains(said), "{words:?}: {}", refused.error);
    }
    Ok(())
}

async fn template(helm: &Path, chart: &Path, file: &Path, words: &[&str]) -> anyhow::Result<Ended> {
    let mut command = Command::new(helm);
    command.args(["template", "mesh"]).arg(chart);
    command.arg("--values").arg(file).args(words);
    output(&mut command, LIMIT).await
}

fn objects(text: &str) -> anyhow::Result<Objects> {
    let mut objects = Objects::new();
    for document in e2e::replica::documents(text)? {
        let metadata = &document["metadata"];
        let name = format!(
            "{} {}/{}",
            document["kind"], metadata["namespace"], metadata["name"]
        );
        let before = objects.insert(name.clone(), document);
        ensure!(before.is_none(), "{name} is there twice");
    }
    ensure!(objects.len() > 10, "only {} objects", objects.len());
    Ok(objects)
}

/// The objects that only one has, or that are not the same, each as both have it.
fn differing(by_helm: &Objects, ours: &Objects) -> Vec<String> {
    let names: BTreeSet<&String> = by_helm.keys().chain(ours.keys()).collect();
    let unlike = names
        .into_iter()
        .filter(|name| by_helm.get(*name) != ours.get(*name));
    let shown = |object: Option<&Value>| object.map_or("none".to_owned(), Value::to_string);
    unlike
        .map(|name| {
            let (helm, ours) = (shown(by_helm.get(name)), shown(ours.get(name)));
            format!("{name}\n  helm {helm}\n  ours {ours}")
        })
        .collect()
}
