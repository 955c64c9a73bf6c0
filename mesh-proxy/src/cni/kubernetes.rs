//! The two questions that the node's process has for the API server: one pod, and the meshed pods of
//! this node. Too few to carry a client library in every proxy.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_api::pod::label;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::pods::{Pod, PodList};

/// Where the kubelet puts what a pod needs to call the API server.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer taken, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// No answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("this is no pod: {0} is not set")]
    NoCluster(&'static str),
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("the API server at {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the API server's answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the question: {0}")]
    Request(#[from] http::Error),
    #[error("the API server answers {status}: {said}")]
    Refused { status: u16, said: String },
    #[error("the API server's answer does not read: {0}")]
    Answer(String),
    #[error("the API server does not answer in time")]
    Late,
}

/// Where the API server is.
#[derive(Clone, Debug)]
pub(super) struct Api {
    host: String,
    port: u16,
    node: String,
}

impl Api {
    /// As the environment says.
    pub(super) fn of_pod(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ApiError> {
        let required = |name: &'static str| variable(name).ok_or(ApiError::NoCluster(name));
        let port = required("KUBERNETES_SERVICE_PORT")?;
        Ok(Self {
            host: required("KUBERNETES_SERVICE_HOST")?,
            port: port
                .parse()
                .map_err(|_| ApiError::NoCluster("KUBERNETES_SERVICE_PORT"))?,
            node: required("MESH_NODE_NAME")?,
        })
    }

    /// One pod.
    pub(super) async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, ApiError> {
        self.get(&format!("/api/v1/namespaces/{namespace}/pods/{name}"))
            .await
    }

    /// The meshed pods of this node, from the API server's cache.
    pub(super) async fn pods(&self) -> Result<Vec<Pod>, ApiError> {
        let label = label::PROXY.replace('/', "%2F");
        let path = format!(
            "/api/v1/pods?resourceVersion=0&fieldSelector=spec.nodeName%3D{}&labelSelector={label}%3Dsidecar",
            self.node
        );
        Ok(self.get::<PodList>(&path).await?.items)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let answer = tokio::time::timeout(PATIENCE, self.ask(path)).await;
        let body = answer.map_err(|_| ApiError::Late)??;
        serde_json::from_slice(&body).map_err(|error| ApiError::Answer(error.to_string()))
    }

    async fn ask(&self, path: &str) -> Result<Bytes, ApiError> {
        let address = format!("{}:{}", self.host, self.port);
        let failed = |source| ApiError::Connect {
            address: address.clone(),
            source,
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| failed(io::Error::other(error)))?;
        let tls = TlsConnector::from(Arc::new(settings()?));
        let stream = tls
            .connect(name, stream.map_err(failed)?)
            .await
            .map_err(failed)?;
        let token = read("token")?;
        let request = Request::get(path)
            .header("host", &address)
            .header("accept", "application/json")
            .header("authorization", format!("Bearer {}", token.trim()))
            .body(Empty::<Bytes>::new())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let asked = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await;
            let body = body
                .map_err(|error| ApiError::Answer(error.to_string()))?
                .to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let said = String::from_utf8_lossy(&body).chars().take(300).collect();
            let status = status.as_u16();
            Err(ApiError::Refused { status, said })
        };
        tokio::pin!(asked, connection);
        tokio::select! {
            answer = &mut asked => answer,
            ended = &mut connection => {
                ended?;
                asked.await
            }
        }
    }
}

fn settings() -> Result<ClientConfig, ApiError> {
    let text = read("ca.crt")?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(text.as_bytes()).flatten() {
        roots.add(root)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn read(name: &str) -> Result<String, ApiError> {
    let path = format!("{FOLDER}/{name}");
    std::fs::read_to_string(&path).map_err(|source| ApiError::File { path, source })
}
