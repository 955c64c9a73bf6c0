//! Tells the API server which roots the webhooks' certificates come from. Only the leader does. May
//! use `secrets` and `kubernetes`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::watch;

use crate::ca::Authority;
use crate::error::Error;
use crate::kubernetes::failed;
use crate::kubernetes::secrets::pem;
use crate::telemetry::{self, Trouble};

/// Keeps `caBundle` of our webhook configurations up to date while this replica leads; never
/// returns.
pub async fn keep(client: Client, authority: Arc<Authority>, mut leads: watch::Receiver<bool>) {
    let mut troubles = [Trouble::default(), Trouble::default()];
    loop {
        if leads.wait_for(|leads| *leads).await.is_err() {
            return std::future::pending().await;
        }
        let bundle = bundle(&authority);
        let mutating = update(
            Api::<MutatingWebhookConfiguration>::all(client.clone()),
            "mesh-injector",
            &bundle,
        );
        let validating = update(
            Api::<ValidatingWebhookConfiguration>::all(client.clone()),
            "mesh-validator",
            &bundle,
        );
        let done = [mutating.await, validating.await];
        for (done, trouble) in done.into_iter().zip(&mut troubles) {
            match done {
                Ok(()) => trouble.end("webhook configuration"),
                Err(error) => trouble.note("webhook configuration", &error.chain()),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Every trusted root as PEM.
fn bundle(authority: &Authority) -> ByteString {
    let roots = authority.roots();
    let text: String = roots.iter().map(pem).collect();
    ByteString(text.into_bytes())
}

/// Sets `caBundle` of each webhook that has another one. A configuration that is not there is left
/// so: it comes with the installation.
async fn update<K: Configuration>(
    api: Api<K>,
    name: &str,
    bundle: &ByteString,
) -> Result<(), Error> {
    let found = api
        .get_opt(name)
        .await
        .map_err(failed(format!("read webhook configuration {name}")))?;
    let Some(found) = found else {
        return Ok(());
    };
    let bundles = found.bundles();
    if bundles.is_empty() || bundles.iter().all(|held| *held == Some(bundle)) {
        return Ok(());
    }
    // The place of each entry is its place as read: another version is refused by `test`.
    let mut steps = vec![json!({
        "op": "test", "path": "/metadata/resourceVersion", "value": found.resource_version(),
    })];
    steps.extend((0..bundles.len()).map(|index| {
        json!({
            "op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle,
        })
    }));
    let patch = serde_json::from_value(json!(steps)).map_err(|error| Error::Cluster {
        action: format!("patch webhook configuration {name}"),
        reason: error.to_string(),
    })?;
    let params = PatchParams {
        field_manager: Some("mesh-control".into()),
        ..PatchParams::default()
    };
    api.patch(name, &params, &Patch::<()>::Json(patch))
        .await
        .map_err(failed(format!("patch webhook configuration {name}")))?;
    telemetry::record_bundle(name);
    Ok(())
}

/// What the two kinds of configuration share.
trait Configuration: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug {
    /// `caBundle` of each webhook.
    fn bundles(&self) -> Vec<Option<&ByteString>>;
}

impl Configuration for MutatingWebhookConfiguration {
    fn bundles(&self) -> Vec<Option<&ByteString>> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks
            .map(|webhook| webhook.client_config.ca_bundle.as_ref())
            .collect()
    }
}

impl Configuration for ValidatingWebhookConfiguration {
    fn bundles(&self) -> Vec<Option<&ByteString>> {
        let webhooks = self.webhooks.iter().flatten();
        webhooks
            .map(|webhook| webhook.client_config.ca_bundle.as_ref())
            .collect()
    }
}

/// How often the configurations are looked at: an installation may have put them there anew.
const LOOK: Duration = Duration::from_secs(5);
