//! Control planes beside a real API server: with the definitions and the rights that `meshctl install`
//! gives, and no node.
//!
//! May use `demo`, `process`, `mesh` and `apiserver`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersion};
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Settings, exchange, folder_of};
use crate::demo::meshctl;
use crate::mesh::free_address;
use crate::process::{Ended, Process, bound, output, wait_until};

/// Whose rights replicas have.
pub const ACCOUNT: &str = "system:serviceaccount:mesh-system:mesh-control";
/// Longest wait for what takes a moment.
pub const SOON: Duration = Duration::from_secs(30);
const COMMAND: Duration = Duration::from_mins(2);
/// Documents of an installation that mean nothing without nodes, or that a case applies by itself.
const LEFT_OUT: [&str; 5] = [
    "Deployment",
    "PodDisruptionBudget",
    "Service",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
];

/// An API server with the mesh's definitions, the Gateway API's, and the rights of a control plane.
pub struct Place {
    /// The server.
    pub server: ApiServer,
    /// An administrator.
    pub client: kube::Client,
    /// What `meshctl install` would apply.
    installation: Vec<Value>,
}

/// A control plane.
pub struct Replica {
    process: Process,
    folder: PathBuf,
    /// Where it is observed, and where the API server calls.
    observe: SocketAddr,
    webhooks: SocketAddr,
}

impl Place {
    /// Starts a server by `settings` with everything but webhooks, and the namespace `shop`.
    ///
    /// # Errors
    ///
    /// If it does not start, or refuses an object.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        let server = ApiServer::start_with(settings).await?;
        let client = server.client().await?;
        let mut command = Command::new(meshctl()?);
        let printed = output(command.args(["install", "--dry-run"]), COMMAND);
        let place = Self {
            server,
            client,
            installation: documents(&printed.await?.good()?)?,
        };
        for object in &place.installation {
            let kind = object["kind"].as_str().unwrap_or_default();
            if !LEFT_OUT.contains(&kind) {
                place.apply(object.clone()).await?;
            }
        }
        for object in gateway_definitions()? {
            place.apply(object).await?;
        }
        place
            .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
            .await?;
        place.await_definitions().await?;
        Ok(place)
    }

    /// Applies an object.
    ///
    /// # Errors
    ///
    /// If the server refuses it.
    pub async fn apply(&self, object: Value) -> Result<Value, kube::Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams::apply("case").force();
        let patch = Patch::Apply(&object);
        let applied = self.api(&object).patch(name, &params, &patch).await?;
        Ok(serde_json::to_value(applied).unwrap_or_default())
    }

    /// An object as it is.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn read(&self, object: &Value) -> anyhow::Result<Value> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        Ok(serde_json::to_value(self.api(object).get(name).await?)?)
    }

    /// Removes an object.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn remove(&self, object: &Value) -> anyhow::Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        self.api(object)
            .delete(name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Waits until a condition of an object is `wanted` (`Accepted=False UnsupportedValue`) for the
    /// object as it is now, and returns its message.
    ///
    /// # Errors
    ///
    /// If that takes too long; the message has the status.
    pub async fn await_condition(&self, object: &Value, wanted: &str) -> anyhow::Result<String> {
        let message = std::sync::Mutex::new(String::new());
        let has = || async {
            let now = self.read(object).await?;
            let found = conditions(&now).find(|condition| condition.text == wanted);
            if let Ok(mut message) = message.lock() {
                *message = match &found {
                    Some(condition) => condition.message.clone(),
                    None => now["status"].to_string(),
                };
            }
            Ok(found.is_some())
        };
        let waited = wait_until(wanted, SOON, has).await;
        let said = message.into_inner().unwrap_or_default();
        waited.with_context(|| said.clone())?;
        Ok(said)
    }

    /// Applies the webhooks of an installation so that they lead to `replica`.
    ///
    /// # Errors
    ///
    /// If the server refuses them.
    pub async fn install_webhooks(&self, replica: &Replica) -> anyhow::Result<()> {
        let port = replica.webhooks.port();
        // Without nodes nothing answers at a virtual address.
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "mesh-control", "namespace": "mesh-system"},
            "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
        });
        self.apply(service).await?;
        let named = |object: &&Value| {
            object["kind"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
        };
        for mut object in self.installation.iter().filter(named).cloned() {
            for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
                webhook["clientConfig"]["service"]["port"] = port.into();
            }
            self.apply(object).await?;
        }
        let has_roots = || async {
            let bundles = self.bundles().await?;
            Ok(!bundles.is_empty() && bundles.iter().all(|bundle| !bundle.is_empty()))
        };
        wait_until("the webhooks have their roots", SOON, has_roots).await
    }

    /// `caBundle` of each webhook that validates.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub async fn bundles(&self) -> anyhow::Result<Vec<String>> {
        let validator = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "mesh-validator"},
        });
        let webhooks = self.read(&validator).await?;
        let webhooks = webhooks["webhooks"].as_array().into_iter().flatten();
        let bundle = |webhook: &Value| {
            let bundle = webhook["clientConfig"]["caBundle"].as_str();
            bundle.unwrap_or_default().to_owned()
        };
        Ok(webhooks.map(bundle).collect())
    }

    /// The definition with this name, as it is.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn definition(&self, name: &str) -> anyhow::Result<Value> {
        let object = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
        });
        let mut definition = self.read(&object).await?;
        let metadata = definition["metadata"].as_object_mut();
        let metadata = metadata.context("no metadata")?;
        for field in ["managedFields", "resourceVersion"] {
            metadata.remove(field);
        }
        Ok(definition)
    }

    async fn await_definitions(&self) -> anyhow::Result<()> {
        let served = || async {
            let listed = self
                .client
                .list_api_group_resources("gateway.networking.k8s.io/v1");
            let ours = self.client.list_api_group_resources("mesh.dev/v1alpha1");
            let (listed, ours) = (listed.await, ours.await);
            let count = |listed: kube::Result<_>| {
                listed.map_or(
                    0,
                    |list: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList| {
                        list.resources.len()
                    },
                )
            };
            // Each with its status.
            Ok(count(listed) >= 8 && count(ours) >= 10)
        };
        wait_until("the definitions are served", SOON, served).await
    }

    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (group, version) = match text("apiVersion").split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", text("apiVersion")),
        };
        let kind = GroupVersion::gv(group, version).with_kind(text("kind"));
        let of = ApiResource::from_gvk(&kind);
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &of),
            None => Api::all_with(self.client.clone(), &of),
        }
    }
}

impl Replica {
    /// Starts one and waits until it is ready. `leaf` is the life of certificates in seconds.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn start(place: &Place, name: &str, leaf: u32) -> anyhow::Result<Self> {
        let mut replica = Self::launch(place, name, leaf)?;
        replica.await_ready().await?;
        Ok(replica)
    }

    /// Starts one.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn launch(place: &Place, name: &str, leaf: u32) -> anyhow::Result<Self> {
        let folder = place.server.folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let kubeconfig = folder.join("kubeconfig");
        let own = std::fs::read_to_string(place.server.kubeconfig())?;
        let user = "user: { token:";
        ensure!(own.contains(user), "another kubeconfig than expected");
        let own = own.replace(user, &format!("user: {{ as: \"{ACCOUNT}\", token:"));
        std::fs::write(&kubeconfig, own)?;
        let [observe, webhooks, listen, remote] = [(); 4].map(|()| free_address());
        let (observe, webhooks) = (observe?, webhooks?);
        let bootstrap = json!({
            "listen": listen?, "state": folder, "adminSocket": folder.join("control.sock"),
            "leafLifetimeSeconds": leaf,
            "kubernetes": {
                "kubeconfig": kubeconfig, "observe": observe, "webhooks": webhooks,
                "remoteAdmin": remote?, "clusterDomain": "cluster.local",
            },
        });
        let file = folder.join("mesh-control.json");
        std::fs::write(&file, bootstrap.to_string())?;
        let mut command = bound(mesh_control()?);
        command.arg(&file).env("POD_NAME", name);
        let process = Process::start(name, &mut command, &folder.join("control.log"))?;
        Ok(Self {
            process,
            folder,
            observe,
            webhooks,
        })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it ends, or takes too long.
    pub async fn await_ready(&mut self) -> anyhow::Result<()> {
        let waited = wait_until("the replica is ready", SOON, || self.is_ready()).await;
        waited.with_context(|| self.process.said())?;
        self.process.check_alive()
    }

    /// True if it says so.
    ///
    /// # Errors
    ///
    /// None: who does not answer is not ready.
    pub async fn is_ready(&self) -> anyhow::Result<bool> {
        let answer = self.get("/ready").await;
        Ok(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
    }

    /// A sample of its metrics, with its labels: `mesh_control_watch_lists_total{watch="Service"}`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn sample(&self, name: &str) -> anyhow::Result<u64> {
        let metrics = self.get("/metrics").await?;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("no {name} in {metrics}"))?;
        Ok(value.trim().parse()?)
    }

    /// What `meshctl ... -o json` says of it.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub async fn ask(&self, words: &[&str]) -> anyhow::Result<Value> {
        let words: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
        Ok(serde_json::from_str(&self.run(&words).await?.good()?)?)
    }

    /// `meshctl` beside it.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or takes too long.
    pub async fn run(&self, words: &[&str]) -> anyhow::Result<Ended> {
        let mut command = Command::new(meshctl()?);
        command.args(words).arg("--state").arg(&self.folder);
        output(&mut command, COMMAND).await
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("control.log")).unwrap_or_default()
    }

    /// Where the API server calls it.
    pub fn webhooks(&self) -> SocketAddr {
        self.webhooks
    }

    /// The memory that it holds, in KiB.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn resident(&self) -> anyhow::Result<u64> {
        // The process is a child of the one that guards it.
        let guard = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{guard}/task/{guard}/children"))?;
        let of = |pid: &str| -> Option<u64> {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            let number = line.split_whitespace().next()?.parse().ok()?;
            name.starts_with("mesh-control").then_some(number)
        };
        let mut found = children.split_whitespace().filter_map(of);
        found.next().context("the replica is not among them")
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n");
        exchange(self.observe, &request).await
    }
}

/// A condition of an object, of the object as it is now.
#[derive(Clone, Debug)]
pub struct Condition {
    /// `Accepted=False UnsupportedValue`.
    pub text: String,
    /// What it says.
    pub message: String,
}

/// The conditions of an object that were said of its present generation, wherever its kind has them.
pub fn conditions(object: &Value) -> impl Iterator<Item = Condition> {
    let status = &object["status"];
    let entries = ["parents", "ancestors"]
        .into_iter()
        .filter_map(|list| status[list].as_array())
        .flatten()
        .chain([status]);
    let generation = &object["metadata"]["generation"];
    let fresh = entries
        .filter_map(|entry| entry["conditions"].as_array())
        .flatten()
        .filter(move |condition| condition["observedGeneration"] == *generation);
    fresh.map(|condition| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        Condition {
            text: format!("{}={} {}", text("type"), text("status"), text("reason")),
            message: text("message").to_owned(),
        }
    })
}

/// The binary beside meshctl.
fn mesh_control() -> anyhow::Result<PathBuf> {
    let beside = meshctl()?.with_file_name("mesh-control");
    ensure!(
        beside.is_file(),
        "mesh-control is not built: cargo build --release -p mesh-control"
    );
    Ok(beside)
}

/// The documents of a YAML text.
///
/// # Errors
///
/// If it is no YAML.
pub fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let texts = text.split("\n---\n").filter(|text| {
        let mut lines = text.lines();
        lines.any(|line| !line.starts_with('#') && !line.trim().is_empty() && line != "---")
    });
    let read = texts.map(|text| Ok(serde_saphyr::from_str(text)?));
    read.collect()
}

/// The files of the Gateway API's module, standard channel.
///
/// # Errors
///
/// If the module cannot be had.
pub fn gateway_definitions() -> anyhow::Result<Vec<Value>> {
    let folder = gateway_files()?.join("config/crd/standard");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with("gateway.") {
            found.extend(documents(&std::fs::read_to_string(&path)?)?);
        }
    }
    Ok(found)
}

/// The folder of the Gateway API's module, downloaded once.
///
/// # Errors
///
/// If Go or the module cannot be had.
pub fn gateway_files() -> anyhow::Result<PathBuf> {
    folder_of("gateway")
}
