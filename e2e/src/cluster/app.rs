//! Apps of cases in the cluster: `cluster-app` as a Deployment with its Service, and calls from a pod.
//!
//! May use `cluster`.

use serde_json::Value;

use super::Namespace;

/// The image with `cluster-app`, as `cargo xtask e2e` loads it.
pub const IMAGE: &str = "mesh.dev/e2e-app:dev";
/// What `restricted` asks of a container.
const RESTRICTED: &str = "        securityContext: { runAsNonRoot: true, runAsUser: 65532, \
     allowPrivilegeEscalation: false, capabilities: { drop: [ALL] }, \
     seccompProfile: { type: RuntimeDefault } }\n";

/// An app to run.
#[derive(Clone, Debug)]
pub struct App<'a> {
    /// The name of the Deployment, its Service, its `ServiceAccount`, and the label `app`.
    pub name: &'a str,
    /// What it answers as `version`.
    pub version: &'a str,
    /// How many pods.
    pub replicas: u32,
    /// More labels of its pods, such as `mesh.dev/inject: disabled`.
    pub labels: &'a str,
    /// The node that all its pods must be on, if any.
    pub node: &'a str,
    /// True if its pods keep what the Pod Security level `restricted` asks.
    pub restricted: bool,
}

impl<'a> App<'a> {
    /// One pod, of this name and version.
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            version: name,
            replicas: 1,
            labels: "",
            node: "",
            restricted: false,
        }
    }

    /// Its manifests: `ServiceAccount`, Service (`http` on 80, `greet` on 9000) and Deployment.
    pub fn manifests(&self) -> String {
        let Self {
            name,
            version,
            replicas,
            labels,
            node,
            restricted,
        } = self;
        let security = if *restricted { RESTRICTED } else { "" };
        let more = if labels.is_empty() {
            String::new()
        } else {
            format!(", {labels}")
        };
        let node = if node.is_empty() {
            String::new()
        } else {
            format!("      nodeName: {node}\n")
        };
        format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {name} }}\n\
             ---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
             spec:\n  selector: {{ app: {name} }}\n  ports:\n\
             \x20 - {{ name: http, port: 80, targetPort: 8080, appProtocol: http }}\n\
             \x20 - {{ name: tcp-greet, port: 9000, targetPort: 9000 }}\n\
             ---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\n\
             spec:\n  replicas: {replicas}\n  selector: {{ matchLabels: {{ app: {name} }} }}\n\
             \x20 strategy: {{ rollingUpdate: {{ maxUnavailable: 0, maxSurge: 50% }} }}\n\
             \x20 template:\n    metadata: {{ labels: {{ app: {name}{more} }} }}\n    spec:\n\
             \x20     serviceAccountName: {name}\n{node}\
             \x20     containers:\n      - name: app\n        image: {IMAGE}\n\
             \x20       args: [serve]\n        env: [{{ name: VERSION, value: {version} }}]\n\
             \x20       ports: [{{ containerPort: 8080 }}, {{ containerPort: 9000 }}]\n\
             \x20       readinessProbe: {{ httpGet: {{ path: /ready, port: 8080 }}, periodSeconds: 1 }}\n\
             \x20       resources: {{ requests: {{ cpu: 5m, memory: 16Mi }} }}\n{security}"
        )
    }
}

impl Namespace {
    /// Starts apps and waits until all are ready.
    ///
    /// # Errors
    ///
    /// If one is not in time.
    pub async fn start(&self, apps: &[App<'_>]) -> anyhow::Result<()> {
        let manifests: String = apps.iter().map(App::manifests).collect();
        self.apply(&manifests).await?;
        for app in apps {
            self.wait_rollout(&format!("deployment/{}", app.name))
                .await?;
        }
        Ok(())
    }

    /// One request from a pod of `app`; `status`, `headers` and `body` of its answer, or `error`.
    ///
    /// # Errors
    ///
    /// If the program in the pod cannot be run.
    pub async fn call(&self, app: &str, url: &str, headers: &[&str]) -> anyhow::Result<Value> {
        let words: Vec<&str> = ["cluster-app", "call", url]
            .into_iter()
            .chain(headers.iter().copied())
            .collect();
        let said = self
            .exec(&format!("deployment/{app}"), "app", &words)
            .await?;
        Ok(serde_json::from_str(&said)?)
    }

    /// One connection from a pod of `app`: `greeting`, or `error`.
    ///
    /// # Errors
    ///
    /// If the program in the pod cannot be run.
    pub async fn dial(&self, app: &str, address: &str) -> anyhow::Result<Value> {
        let words = ["cluster-app", "dial", address];
        let said = self
            .exec(&format!("deployment/{app}"), "app", &words)
            .await?;
        Ok(serde_json::from_str(&said)?)
    }
}

#[cfg(test)]
mod tests {
    use super::App;

    #[test]
    fn its_manifests_are_yaml() {
        let app = App {
            labels: "mesh.dev/inject: disabled",
            node: "mesh-worker",
            ..App::new("shop")
        };
        let text = app.manifests();
        assert!(
            text.contains("labels: { app: shop, mesh.dev/inject: disabled }"),
            "{text}"
        );
        assert!(text.contains("\n      nodeName: mesh-worker\n"), "{text}");
        assert!(text.contains("\n  template:\n    metadata:"), "{text}");
    }
}
