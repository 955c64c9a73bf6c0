//! The control plane in a cluster: its remote admin port through a port-forward, over TLS that its
//! own roots vouch for, with a short-lived token of a ServiceAccount.
//!
//! Every replica holds the same resources, but a proxy is connected to one of them: rows of proxies
//! are gathered from all, and a proxy is asked through the one that has it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::{Cluster, ClusterArg, exec, reason};
use crate::source::http::{Answer, Connection, Request, request};
use crate::source::json::{items, list, text};

/// Where the control plane lives.
const NAMESPACE: &str = "mesh-system";
/// Its remote admin port.
const PORT: u16 = 15014;
/// What its certificate is for.
const SERVER: &str = "mesh-control.mesh-system.svc";
/// Whom the token is for.
const AUDIENCE: &str = "mesh.dev/admin";
/// Whose token it is, unless another is named.
const ACCOUNT: &str = "mesh-system/mesh-admin";
/// How long the token is good for, in seconds: the shortest that an API server gives.
const LIFETIME: u32 = 600;

/// The control plane of a cluster.
pub(crate) struct Remote {
    cluster: Cluster,
    account: String,
    by_exec: bool,
    session: Mutex<Option<Arc<Session>>>,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
}

/// What a series of requests needs.
struct Session {
    token: String,
    tls: TlsConnector,
    /// Ready replicas.
    pods: Vec<String>,
}

impl Remote {
    /// The control plane of the cluster that `arguments` name.
    pub(crate) async fn connect(arguments: &ClusterArg) -> anyhow::Result<Self> {
        let account = arguments.asking_as.as_deref().unwrap_or(ACCOUNT);
        ensure!(
            account.split('/').filter(|part| !part.is_empty()).count() == 2,
            "{account:?} is no ServiceAccount (namespace/name)"
        );
        Ok(Self {
            cluster: arguments.connect().await?,
            account: account.to_owned(),
            by_exec: arguments.exec,
            session: Mutex::new(None),
            idle: Mutex::new(HashMap::new()),
        })
    }

    /// The cluster.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Asks for `target`.
    pub(crate) async fn ask(
        &self,
        method: &str,
        target: &str,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        if self.by_exec
            && let Some((namespace, pod, path)) = relayed(target)
        {
            return exec::ask(&self.cluster, namespace, pod, path, &body).await;
        }
        let answer = self.ask_once(method, target, &body).await;
        // A replica went, or the token's time is over: once more with what is true now.
        let is_over = match &answer {
            Ok(answer) => answer.status == 401,
            Err(_) => true,
        };
        if !is_over || self.session.lock().await.take().is_none() {
            return answer;
        }
        self.idle.lock().await.clear();
        match self.ask_once(method, target, &body).await {
            Err(_) if answer.is_err() => answer,
            again => again,
        }
    }

    async fn ask_once(&self, method: &str, target: &str, body: &Bytes) -> anyhow::Result<Answer> {
        let session = self.session().await?;
        let mut last = None;
        let mut rows = Vec::new();
        for pod in &session.pods {
            let ask = request(method, target, SERVER, body.clone())?;
            let answer = self.exchange(&session, pod, ask).await?;
            if target == "/proxies" && answer.status == 200 {
                rows.extend_from_slice(items(&answer.json()?));
                last = Some(answer);
                continue;
            }
            // This replica does not have the proxy; another may.
            let is_elsewhere = relayed(target).is_some() && matches!(answer.status, 404 | 503);
            if !is_elsewhere {
                return Ok(answer);
            }
            last = Some(answer);
        }
        let mut answer = last.context("the control plane has no ready replica")?;
        if target == "/proxies" {
            answer.body = serde_json::to_vec(&merged(rows))?.into();
        }
        Ok(answer)
    }

    /// One exchange with one replica, over a connection that is kept.
    async fn exchange(
        &self,
        session: &Session,
        pod: &str,
        mut ask: Request,
    ) -> anyhow::Result<Answer> {
        let bearer = format!("Bearer {}", session.token).parse()?;
        ask.headers_mut()
            .insert(hyper::header::AUTHORIZATION, bearer);
        let kept = self.idle.lock().await.get_mut(pod).and_then(Vec::pop);
        let mut connection = match kept.filter(Connection::is_open) {
            Some(connection) => connection,
            None => self.open(session, pod).await?,
        };
        let answer = connection
            .exchange(ask)
            .await
            .with_context(|| format!("the control plane's pod {pod} broke off"))?;
        if connection.is_open() {
            let mut idle = self.idle.lock().await;
            idle.entry(pod.to_owned()).or_default().push(connection);
        }
        Ok(answer)
    }

    async fn open(&self, session: &Session, pod: &str) -> anyhow::Result<Connection> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), NAMESPACE);
        let mut forward = api
            .portforward(pod, &[PORT])
            .await
            .map_err(reason)
            .with_context(|| {
                format!(
                    "cannot reach {NAMESPACE}/{pod}: these credentials need `create` on \
                     pods/portforward in {NAMESPACE}; --exec asks sidecars without it"
                )
            })?;
        let stream = forward.take_stream(PORT).context("no stream to forward")?;
        let name = ServerName::try_from(SERVER)?;
        let stream = session
            .tls
            .connect(name, stream)
            .await
            .with_context(|| format!("no TLS with {NAMESPACE}/{pod}"))?;
        Connection::over(stream).await
    }

    async fn session(&self) -> anyhow::Result<Arc<Session>> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref() {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session {
            pods: self.pods().await?,
            tls: self.tls().await?,
            token: self.token().await?,
        });
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Replicas that are ready, the oldest first.
    async fn pods(&self) -> anyhow::Result<Vec<String>> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dmesh-control");
        let found = self.cluster.list(&path).await?;
        let ready = ready(&found);
        if ready.is_empty() {
            let what = match found.len() {
                0 => "no mesh is installed in it (`meshctl install`)".to_owned(),
                all => format!("none of the {all} replicas is ready (`meshctl check`)"),
            };
            bail!(
                "no control plane answers at {}: {what}",
                self.cluster.address
            );
        }
        Ok(ready)
    }

    /// TLS that only a control plane of this mesh passes.
    async fn tls(&self) -> anyhow::Result<TlsConnector> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/mesh-ca-roots");
        let found = self.cluster.get(&path).await?.unwrap_or_default();
        let pem = text(&found["data"], "roots.pem");
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(root?)?;
        }
        ensure!(
            !roots.is_empty(),
            "the ConfigMap {NAMESPACE}/mesh-ca-roots holds no certificate; the control plane writes \
             it at its first start"
        );
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    async fn token(&self) -> anyhow::Result<String> {
        let (namespace, name) = self.account.split_once('/').unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let wish = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "audiences": [AUDIENCE], "expirationSeconds": LIFETIME },
        });
        let answer = self.cluster.create(&path, &wish).await.with_context(|| {
            format!(
                "no token of the ServiceAccount {}: these credentials need `create` on \
                 serviceaccounts/token there; another account is named with --asking-as",
                self.account
            )
        })?;
        Ok(text(&answer["status"], "token").to_owned())
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({})", self.cluster.address)
    }
}

/// Namespace, workload and path of a target that goes on to a proxy.
fn relayed(target: &str) -> Option<(&str, &str, &str)> {
    let rest = target.strip_prefix("/proxy/")?;
    let (namespace, rest) = rest.split_once('/')?;
    let end = rest.find('/')?;
    let (workload, path) = rest.split_at(end);
    Some((namespace, workload, path))
}

/// The names of pods that are ready.
fn ready(pods: &[Value]) -> Vec<String> {
    let is_ready = |pod: &&Value| {
        let is = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        pod["metadata"]["deletionTimestamp"].is_null()
            && list(&pod["status"], "conditions").iter().any(is)
    };
    let name = |pod: &Value| text(&pod["metadata"], "name").to_owned();
    pods.iter().filter(is_ready).map(name).collect()
}

/// One row per workload: the one of the replica that it is connected to, else the youngest.
fn merged(rows: Vec<Value>) -> Vec<Value> {
    let mut best: BTreeMap<String, Value> = BTreeMap::new();
    let rank = |row: &Value| {
        let age = row["ageSeconds"].as_u64().unwrap_or(u64::MAX);
        (row["state"] == "DISCONNECTED", age)
    };
    for row in rows {
        let workload = text(&row, "workload").to_owned();
        if best
            .get(&workload)
            .is_none_or(|known| rank(&row) < rank(known))
        {
            best.insert(workload, row);
        }
    }
    best.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_told_by_the_replica_that_has_it() {
        let row = |workload: &str, state: &str, age: u64| json!({"workload": workload, "state": state, "ageSeconds": age});
        let found = merged(vec![
            row("a/b", "DISCONNECTED", 3),
            row("a/a", "SYNCED", 9),
            row("a/b", "SYNCED", 60),
            row("a/c", "DISCONNECTED", 60),
            row("a/c", "DISCONNECTED", 5),
        ]);
        assert_eq!(
            found,
            [
                row("a/a", "SYNCED", 9),
                row("a/b", "SYNCED", 60),
                row("a/c", "DISCONNECTED", 5)
            ]
        );
    }

    #[test]
    fn only_ready_replicas_that_stay_are_asked() {
        let pod = |name: &str, ready: &str, going: Value| {
            json!({
                "metadata": {"name": name, "deletionTimestamp": going},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            })
        };
        let pods = [
            pod("a", "True", Value::Null),
            pod("b", "False", Value::Null),
            pod("c", "True", "2026-01-01T00:00:00Z".into()),
        ];
        assert_eq!(ready(&pods), ["a"]);
    }

    #[test]
    fn targets_of_proxies_are_known() {
        assert_eq!(relayed("/proxy/a/b/config"), Some(("a", "b", "/config")));
        assert_eq!(relayed("/proxies"), None);
        assert_eq!(relayed("/proxy/a/b"), None);
    }
}
