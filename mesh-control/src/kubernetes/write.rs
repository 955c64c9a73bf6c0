//! Writes status: the leader alone, only what differs, one object after the other. May use `wanted`,
//! `topic`, `publish` and `kubernetes`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use mesh_api::resource::ResourceKey;
use serde_json::json;
use tokio::sync::watch;

use crate::error::Error;
use crate::index::Judged;
use crate::kubernetes::backoff::Backoff;
use crate::kubernetes::failed;
use crate::kubernetes::object::Object;
use crate::kubernetes::topic::Topic;
use crate::kubernetes::wanted;
use crate::publish::Publisher;
use crate::telemetry::Trouble;

/// Writes while this replica leads; never returns.
pub async fn keep(client: Client, publisher: Arc<Publisher>, mut leads: watch::Receiver<bool>) {
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return std::future::pending().await;
        }
        let writing = write_all(&client, &publisher);
        tokio::select! {
            () = writing => {}
            () = until_lost(&mut leads) => {}
        }
        publisher.forget_verdicts();
    }
}

/// Writes what changes; never returns.
async fn write_all(client: &Client, publisher: &Publisher) {
    let mut backoff = Backoff::default();
    let mut failing: BTreeSet<ResourceKey> = BTreeSet::new();
    let mut trouble = Trouble::default();
    loop {
        let verdicts = if failing.is_empty() {
            publisher.next_verdicts().await
        } else {
            let wait = backoff.next(fastrand::f64());
            let changed = tokio::time::timeout(wait, publisher.next_verdicts());
            changed.await.unwrap_or_default()
        };
        let mut keys = std::mem::take(&mut failing);
        keys.extend(verdicts.keys);
        if verdicts.everything {
            keys.extend(publisher.read(crate::index::Index::all_object_keys));
        }
        for key in keys {
            match write(client, publisher, &key).await {
                Ok(true) => tokio::time::sleep(PACE).await,
                Ok(false) => {}
                Err(error) => {
                    trouble.note("status", &error.chain());
                    failing.insert(key);
                }
            }
        }
        if failing.is_empty() {
            backoff.reset();
            trouble.end("status");
        }
    }
}

/// Writes one object's status if it is not what it should be; true if it wrote.
async fn write(client: &Client, publisher: &Publisher, key: &ResourceKey) -> Result<bool, Error> {
    let Some(judged) = publisher.read(|index| index.judged(key)) else {
        return Ok(false);
    };
    if wanted_of(key, &judged).is_none() {
        return Ok(false);
    }
    // What others wrote meanwhile stays: the newest object is what is changed, or nothing.
    let api = api(client, key);
    let found = api.get_opt(key.name.as_str()).await;
    let Some(newest) = found.map_err(failed(format!("read {key}")))? else {
        return Ok(false);
    };
    let version = newest.resource_version();
    let mut fresh = judged;
    let object = newest.into_value();
    if object["metadata"]["generation"] != fresh.object["metadata"]["generation"] {
        // The watch brings it soon, and a verdict with it.
        return Ok(false);
    }
    fresh.object = object;
    let Some(status) = wanted_of(key, &fresh) else {
        return Ok(false);
    };
    let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
    let params = PatchParams {
        field_manager: Some(wanted::CONTROLLER.into()),
        ..PatchParams::default()
    };
    let patched = api
        .patch_status(key.name.as_str(), &params, &Patch::Merge(&patch))
        .await;
    match patched {
        Ok(_) => Ok(true),
        // Gone, or its kind is.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(failed(format!("write the status of {key}"))(error)),
    }
}

fn wanted_of(key: &ResourceKey, judged: &Judged) -> Option<serde_json::Value> {
    let now = jiff::Timestamp::now()
        .round(jiff::Unit::Second)
        .unwrap_or_default()
        .to_string();
    wanted::status(key.kind, judged, &now)
}

fn api(client: &Client, key: &ResourceKey) -> Api<Object> {
    let of = Topic::Kind(key.kind).resource();
    match &key.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace.as_str(), &of),
        None => Api::all_with(client.clone(), &of),
    }
}

async fn until_lost(leads: &mut watch::Receiver<bool>) {
    drop(leads.wait_for(|leads| !*leads).await);
}

/// Between two writes: at most 100 a second.
const PACE: Duration = Duration::from_millis(10);
