//! `meshctl install`: makes a mesh of a Kubernetes cluster, or mends one that is half there.

pub(crate) mod apply;
pub(crate) mod gateway;
pub(crate) mod preflight;
pub(crate) mod ready;
pub(crate) mod recorded;
pub(crate) mod trouble;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{ArgAction, Args, ValueHint};
use mesh_api::resource::duration;
use serde::Serialize;
use serde_json::{Value, json};

use crate::install::object::Object;
use crate::install::record::Record;
use crate::install::values::{Profile, Values};
use crate::install::{helm, render, set};
use crate::render::{Format, Output, count, note, print, show, yaml};
use crate::source::cluster::{Cluster, ClusterArg};
use apply::Applied;

/// Arguments of `meshctl install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    settings: Settings,
    /// Print the manifests, in the order they are applied, and touch nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write the same objects as a Helm chart into this folder, and touch no cluster.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "dry_run")]
    helm_chart: Option<PathBuf>,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    output: Output,
}

/// What is installed, shared by `install` and `upgrade`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// A set of defaults [default: default].
    #[arg(long, value_enum, value_name = "PROFILE")]
    pub(crate) profile: Option<Profile>,
    /// A file of values (YAML); repeatable, the later before the earlier.
    #[arg(short = 'f', long = "values", value_name = "FILE", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// One value, as `control.replicas=3`; repeatable, before any file.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = set::assignment)]
    set: Vec<Value>,
    /// Redirect pods by a CNI plug-in on each node, not by an init container: `cni.enabled=true`.
    #[arg(long)]
    cni: bool,
}

/// Whether to wait, shared by what changes a cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct Wait {
    /// Wait until it is done and serves.
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
}

/// What an installation did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    version: &'static str,
    objects: Vec<Applied>,
    ready: bool,
}

/// Installs the mesh.
pub(crate) async fn run(install: Install, cluster: &ClusterArg) -> anyhow::Result<u8> {
    if let Some(folder) = &install.helm_chart {
        return write_chart(folder);
    }
    let values = install.settings.values(&[])?;
    let objects = render(&values);
    if install.dry_run {
        print(&manifests(&objects, install.output.format)?)?;
        return Ok(0);
    }
    let cluster = cluster.connect().await?;
    preflight::check(&cluster, &objects).await?;
    match recorded::read(&cluster).await? {
        None => {}
        Some(found) => found.may_reinstall()?,
    }
    let outcome = carry_out(&cluster, &values, &objects, &install.wait).await?;
    show(install.output, &outcome, || outcome.text())?;
    gateway::tell(&cluster).await?;
    Ok(0)
}

/// Writes the chart.
fn write_chart(folder: &Path) -> anyhow::Result<u8> {
    let files = helm::chart()?;
    for file in &files {
        let path = folder.join(&file.path);
        let context = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        std::fs::write(&path, &file.text).with_context(context)?;
    }
    note(&format!(
        "{} written to {}",
        count(files.len(), "file"),
        folder.display()
    ));
    Ok(0)
}

/// Applies every object, waits, and takes away what no longer belongs.
pub(crate) async fn carry_out(
    cluster: &Cluster,
    values: &Values,
    objects: &[Object],
    wait: &Wait,
) -> anyhow::Result<Outcome> {
    let deadline = tokio::time::Instant::now() + wait.timeout;
    let mut applied = apply::all(cluster, objects, deadline).await?;
    if wait.wait {
        ready::wait(cluster, values, deadline).await?;
    }
    // Last: until the new replicas serve, a pod that starts may still need what the former ones use.
    applied.extend(apply::prune(cluster, objects).await?);
    Ok(Outcome {
        version: mesh_api::version(),
        objects: applied,
        ready: wait.wait,
    })
}

impl Settings {
    /// The values asked for, over `base`.
    pub(crate) fn values(&self, base: &[Value]) -> anyhow::Result<Values> {
        let mut layers = base.to_vec();
        for file in &self.files {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let layer = serde_saphyr::from_str(&text)
                .with_context(|| format!("{} is no YAML", file.display()))?;
            layers.push(layer);
        }
        layers.extend(self.set.iter().cloned());
        if self.cni {
            layers.push(json!({ "cni": { "enabled": true } }));
        }
        set::values(self.profile, &layers).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(
                "{}\n\nEvery value is listed in docs/reference/values.md",
                faults.join("\n")
            )
        })
    }
}

impl Outcome {
    /// The text for people after an installation.
    fn text(&self) -> String {
        format!(
            "{}\n\
             Next: kubectl label namespace NAMESPACE mesh.dev/inject=enabled, and restart its pods.\n\
             `meshctl check` tells what a strict mesh would break, and how to mend it.\n",
            self.upgraded(),
        )
    }

    /// The text for people after an upgrade.
    pub(crate) fn upgraded(&self) -> String {
        let changed = self.objects.iter().filter(|applied| applied.is_change());
        let changed = count(changed.count(), "object");
        let unchanged = self.objects.iter().filter(|applied| !applied.is_change());
        let state = if self.ready { "is ready" } else { "is applied" };
        format!(
            "mesh {} {state}: {changed} changed, {} unchanged\n",
            self.version,
            unchanged.count(),
        )
    }
}

impl Record {
    /// Refuses what another tool or another version installed.
    fn allows(&self, found: &recorded::Found) -> anyhow::Result<()> {
        if found.is_by_helm {
            bail!("this mesh is installed by Helm; change it with `helm upgrade`");
        }
        let version = mesh_api::version();
        if self.version != version {
            bail!(
                "mesh {} is installed, and this is meshctl {version}: use `meshctl upgrade`",
                self.version
            );
        }
        Ok(())
    }
}

impl recorded::Found {
    /// Fails if it is not for `install` to change.
    fn may_reinstall(&self) -> anyhow::Result<()> {
        self.record.allows(self)?;
        note("the mesh is installed already: what differs is mended");
        Ok(())
    }
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    Ok(duration::Duration(text.to_owned()).parse()?)
}

/// The objects as a stream of YAML documents, or as a JSON list.
pub(crate) fn manifests(objects: &[Object], format: Format) -> anyhow::Result<String> {
    if format == Format::Json {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        return crate::render::json(&list);
    }
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        text.push_str(&yaml(object)?);
    }
    Ok(text)
}
