//! `meshctl upgrade`: brings an installed mesh to the version of this build.

mod stale;
mod step;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use crate::command::install::{Settings, Wait, carry_out, gateway, preflight, recorded};
use crate::install::record::Record;
use crate::install::render;
use crate::render::{Output, note, print, show};
use crate::source::cluster::ClusterArg;

/// Arguments of `meshctl upgrade`.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    settings: Settings,
    /// Begin with the defaults of the profile, not with what was set at the installation.
    #[arg(long)]
    reset_values: bool,
    /// Print the manifests, in the order they are applied, and touch nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    output: Output,
}

/// Upgrades the mesh.
pub(crate) async fn run(upgrade: Upgrade, cluster: &ClusterArg) -> anyhow::Result<u8> {
    let cluster = cluster.connect().await?;
    cluster.version().await?;
    let Some(found) = recorded::read(&cluster).await? else {
        bail!("no mesh is installed here, or only half of one: use `meshctl install`");
    };
    if found.is_by_helm {
        bail!("this mesh is installed by Helm; change it with `helm upgrade`");
    }
    let version = mesh_api::version();
    step::supported(&found.record.version, version)?;
    let base = if upgrade.reset_values {
        Vec::new()
    } else {
        vec![carried(&found.record)?]
    };
    let values = upgrade.settings.values(&base)?;
    let objects = render(&values);
    if upgrade.dry_run {
        print(&crate::command::install::manifests(
            &objects,
            upgrade.output.format,
        )?)?;
        return Ok(0);
    }
    preflight::check(&cluster, &objects).await?;
    note(&format!("from {} to {version}", found.record.version));
    let outcome = carry_out(&cluster, &values, &objects, &upgrade.wait).await?;
    show(upgrade.output, &outcome, || outcome.upgraded())?;
    gateway::tell(&cluster).await?;
    let stale = stale::find(&cluster).await?;
    if !stale.is_empty() {
        note(&stale::text(&stale));
    }
    Ok(0)
}

/// What was set before. A tag that was the version's own follows the version.
fn carried(record: &Record) -> anyhow::Result<Value> {
    let mut values: Value = serde_json::from_str(&record.values).context(
        "the values of this installation cannot be read; give them again, with --reset-values",
    )?;
    if values["image"]["tag"] == record.version.as_str()
        && let Some(image) = values["image"].as_object_mut()
    {
        image.remove("tag");
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_carried_over_and_the_tag_follows_the_version() {
        for (tag, expected) in [("0.0.9", None), ("mine", Some("mine"))] {
            let values = json!({"image": {"tag": tag, "registry": "r"}}).to_string();
            let version = "0.0.9".into();
            let carried = carried(&Record { version, values }).unwrap();
            assert_eq!(carried["image"]["tag"].as_str(), expected);
            assert_eq!(carried["image"]["registry"], "r");
        }
        let broken = Record {
            version: "1".into(),
            values: "{".into(),
        };
        assert!(carried(&broken).is_err());
    }
}
