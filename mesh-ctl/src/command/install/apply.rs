//! Server-side apply, one object after the other; each is mended where it cannot be changed.

use std::time::Duration;

use anyhow::{Context, bail};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde::Serialize;
use tokio::time::Instant;

use crate::install::object::Object;
use crate::install::templates;
use crate::render::symbol::Symbols;
use crate::render::{Tone, note};
use crate::source::cluster::{Cluster, reason};

/// The owner of every field that is applied.
pub(crate) const MANAGER: &str = "meshctl";
/// What every object of ours carries.
pub(crate) const OURS: &str = "app.kubernetes.io/part-of=mesh,app.kubernetes.io/managed-by=meshctl";

/// What was done to one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Applied {
    kind: String,
    name: String,
    change: Change,
}

/// What an object needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// It was not there.
    Created,
    /// It differed.
    Changed,
    /// It was made anew, because a field of it cannot change.
    Replaced,
    /// It no longer belongs here.
    Removed,
    /// Nothing.
    Unchanged,
}

impl Applied {
    /// True if the cluster is another than before.
    pub(crate) fn is_change(&self) -> bool {
        self.change != Change::Unchanged
    }

    fn of(object: &Object, change: Change) -> Self {
        let applied = Self {
            kind: object.kind().to_owned(),
            name: object.name().to_owned(),
            change,
        };
        if applied.is_change() {
            tell(&applied);
        }
        applied
    }
}

/// Applies every object in order.
pub(crate) async fn all(
    cluster: &Cluster,
    objects: &[Object],
    deadline: Instant,
) -> anyhow::Result<Vec<Applied>> {
    let mut applied = Vec::new();
    for object in objects {
        let change = one(cluster, object, deadline).await.with_context(|| {
            format!("cannot apply {object}; run the same command again once this is mended")
        })?;
        applied.push(Applied::of(object, change));
    }
    Ok(applied)
}

/// Removes what an earlier installation left and this one does not have. Definitions of kinds stay:
/// with them would go what users wrote.
pub(crate) async fn prune(cluster: &Cluster, objects: &[Object]) -> anyhow::Result<Vec<Applied>> {
    let mut removed = Vec::new();
    for kind in kinds() {
        if kind.kind() == "CustomResourceDefinition" || kind.kind() == "Namespace" {
            continue;
        }
        for found in ours(cluster, &kind).await? {
            let is_wanted =
                |object: &Object| object.kind() == kind.kind() && object.name() == found.name();
            if objects.iter().any(is_wanted) {
                continue;
            }
            remove(cluster, &found).await?;
            removed.push(Applied::of(&found, Change::Removed));
        }
    }
    Ok(removed)
}

/// One object of each kind that an installation has, in order.
pub(crate) fn kinds() -> Vec<Object> {
    let mut kinds: Vec<Object> = Vec::new();
    for template in templates() {
        let object = Object::new(template.body);
        if !kinds.iter().any(|known| known.kind() == object.kind()) {
            kinds.push(object);
        }
    }
    kinds
}

/// Every object of the kind of `like` that `meshctl` made.
pub(crate) async fn ours(cluster: &Cluster, like: &Object) -> anyhow::Result<Vec<Object>> {
    let found = api(cluster, like)
        .list(&ListParams::default().labels(OURS))
        .await
        .map_err(reason)
        .with_context(|| format!("cannot list {}", like.resource().plural))?;
    let with_kind = |item: DynamicObject| {
        let mut body = serde_json::to_value(item)?;
        body["apiVersion"] = like.body()["apiVersion"].clone();
        body["kind"] = like.kind().into();
        anyhow::Ok(Object::new(body))
    };
    found.items.into_iter().map(with_kind).collect()
}

/// Asks for an object's removal; one that is gone is no error.
pub(crate) async fn remove(cluster: &Cluster, object: &Object) -> anyhow::Result<()> {
    // A workload is gone when its pods are; everything else at once.
    let how = match object.kind() {
        "Deployment" | "DaemonSet" => DeleteParams::foreground(),
        _ => DeleteParams::background(),
    };
    let done = api(cluster, object).delete(object.name(), &how).await;
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(reason(error)).with_context(|| format!("cannot remove {object}")),
        Ok(_) => Ok(()),
    }
}

/// Waits until an object is gone.
pub(crate) async fn gone(
    cluster: &Cluster,
    object: &Object,
    deadline: Instant,
) -> anyhow::Result<()> {
    let api = api(cluster, object);
    let mut is_told = false;
    loop {
        let Some(found) = api.get_opt(object.name()).await.map_err(reason)? else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let holders = found.metadata.finalizers.unwrap_or_default().join(", ");
            let cause = match holders.as_str() {
                "" => "what it contains is not gone yet".to_owned(),
                holders => format!("held by the finalizers {holders}"),
            };
            bail!("{object} is still being removed: {cause}");
        }
        if !is_told {
            note(&format!("  waiting until {object} is gone"));
            is_told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The API of an object's kind, where it lives.
pub(crate) fn api(cluster: &Cluster, object: &Object) -> Api<DynamicObject> {
    let resource = object.resource();
    match object.namespace() {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    }
}

async fn one(cluster: &Cluster, object: &Object, deadline: Instant) -> anyhow::Result<Change> {
    let api = api(cluster, object);
    let mut before = api.get_opt(object.name()).await.map_err(reason)?;
    // An earlier `uninstall` is still at work, or was cut off: what it takes away cannot be kept.
    if is_going(before.as_ref()) {
        gone(cluster, object, deadline).await?;
        before = None;
    }
    let parameters = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(object);
    let after = match api.patch(object.name(), &parameters, &patch).await {
        Ok(after) => after,
        Err(kube::Error::Api(status)) if before.is_some() && cannot_change(&status.message) => {
            remove(cluster, object).await?;
            gone(cluster, object, deadline).await?;
            api.patch(object.name(), &parameters, &patch)
                .await
                .map_err(reason)?;
            return Ok(Change::Replaced);
        }
        Err(error) => return Err(hint(reason(error), object)),
    };
    Ok(match before {
        None => Change::Created,
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => {
            Change::Unchanged
        }
        Some(_) => Change::Changed,
    })
}

fn is_going(object: Option<&DynamicObject>) -> bool {
    object.is_some_and(|object| object.metadata.deletion_timestamp.is_some())
}

/// Fields that the API server never changes: selectors of a Deployment, the role of a binding.
fn cannot_change(message: &str) -> bool {
    message.contains("field is immutable") || message.contains("cannot change roleRef")
}

/// A namespace of ours in the making is refused until a quota or a policy of others allows it.
fn hint(error: anyhow::Error, object: &Object) -> anyhow::Error {
    let text = error.to_string();
    if text.contains("attempting to grant RBAC permissions not currently held") {
        return error.context(format!(
            "{object} grants rights that these credentials do not have themselves: install as an \
             administrator of the cluster (ClusterRole cluster-admin)"
        ));
    }
    error
}

fn tell(applied: &Applied) {
    let sign = Tone::Good.paint(Symbols::of_locale().good());
    let what = match applied.change {
        Change::Created => "created",
        Change::Changed => "changed",
        Change::Replaced => "made anew: a field of it cannot change",
        Change::Removed => "removed",
        Change::Unchanged => return,
    };
    note(&format!("{sign} {} {} {what}", applied.kind, applied.name));
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::NAMESPACE;

    #[test]
    fn kinds_come_in_the_order_of_the_installation() {
        let kinds = kinds();
        let names: Vec<&str> = kinds.iter().map(Object::kind).collect();
        assert_eq!(names.first(), Some(&"Namespace"));
        assert!(names.contains(&"DaemonSet"), "also what is switched off");
        assert!(
            kinds
                .iter()
                .all(|kind| kind.namespace().is_none_or(|name| name == NAMESPACE))
        );
    }
}
