//! The API server of the cases themselves: real, ready in seconds, gone with its value.

use e2e::apiserver::ApiServer;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_holds_objects_and_knows_rights() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    let version = client.apiserver_version().await?;
    e2e::figure::say(format!("Kubernetes {}", version.git_version));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let shop = serde_json::from_value(json!({ "metadata": { "name": "shop" } }))?;
    namespaces.create(&PostParams::default(), &shop).await?;
    let made = namespaces.get("shop").await?;
    assert!(made.metadata.uid.is_some());
    // One without rights is refused, so rights are judged at all.
    let stranger: Api<ConfigMap> = Api::namespaced(server.client_as("stranger").await?, "shop");
    let refused = stranger.list(&ListParams::default()).await.unwrap_err();
    assert!(refused.to_string().contains("forbidden"), "{refused}");
    Ok(())
}
