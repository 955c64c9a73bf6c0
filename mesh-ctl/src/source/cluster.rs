//! A Kubernetes cluster: which one, and what its API server is asked.

pub(crate) mod exec;
pub(crate) mod pod;
pub(crate) mod remote;

use std::path::PathBuf;

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

/// The arguments that choose a cluster, shared by every command that may ask one.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct ClusterArg {
    /// The kubeconfig file [default: KUBECONFIG, then ~/.kube/config].
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, which is the cluster [default: the current one].
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
    /// The ServiceAccount, `namespace/name`, by whose rights the control plane in the cluster is
    /// asked [default: mesh-system/mesh-admin].
    #[arg(long, value_name = "ACCOUNT", global = true, hide_short_help = true)]
    pub(crate) asking_as: Option<String>,
    /// Ask sidecars by exec into their pods, not through the control plane.
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) exec: bool,
}

/// A cluster that was chosen.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// Its API server.
    pub(crate) client: Client,
    /// As messages name it: its address.
    pub(crate) address: String,
}

impl ClusterArg {
    /// True if an argument names a cluster.
    pub(crate) fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// A client of the cluster; nothing is asked yet.
    pub(crate) async fn connect(&self) -> anyhow::Result<Cluster> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file)
                    .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(read, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.context(
            "no cluster is configured: set KUBECONFIG, or name a file with --kubeconfig and a \
             context with --context",
        )?;
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .with_context(|| format!("the kubeconfig's credentials for {address} are unusable"))?;
        Ok(Cluster {
            client,
            address: address.trim_end_matches('/').to_owned(),
        })
    }
}

impl Cluster {
    /// The object or list at `path` of the API server; `None` if there is no such thing.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let request = hyper::Request::get(path).body(Vec::new())?;
        match self.client.request::<Value>(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) if is_unheard(&error) => Err(self.unheard(error)),
            Err(error) => Err(reason(error)).with_context(|| format!("cannot read {path}")),
        }
    }

    /// The items of the list at `path`, page by page; none if the cluster knows no such resource.
    pub(crate) async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = format!("{path}{joint}limit={PAGE}{next}");
            let Some(mut found) = self.get(&page).await? else {
                return Ok(items);
            };
            if let Some(list) = found["items"].as_array_mut() {
                items.append(list);
            }
            match found["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => next = format!("&continue={token}"),
                _ => return Ok(items),
            }
        }
    }

    /// Creates what `body` describes below `path`, and gives the answer.
    pub(crate) async fn create(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = hyper::Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body)?)?;
        let answer = self.client.request(request).await;
        answer.map_err(|error| {
            if is_unheard(&error) {
                self.unheard(error)
            } else {
                reason(error)
            }
        })
    }

    /// Fails with what helps if the API server does not answer.
    pub(crate) async fn version(&self) -> anyhow::Result<Info> {
        let version = self.client.apiserver_version().await;
        version.map_err(|error| self.unheard(error))
    }

    fn unheard(&self, error: kube::Error) -> anyhow::Error {
        reason(error).context(format!(
            "the cluster at {} does not answer; is it the one you mean? \
             (`kubectl config get-contexts`, --context)",
            self.address
        ))
    }
}

/// True if the API server said nothing at all.
fn is_unheard(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_))
}

/// An error of the API server in its own words; any other with its causes.
pub(crate) fn reason(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            anyhow::anyhow!("{}", status.message)
        }
        other => other.into(),
    }
}

/// Items of a list asked for at once.
const PAGE: usize = 500;
