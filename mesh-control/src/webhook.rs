//! What the API server asks before it takes an object in.
//!
//! | path | answer |
//! |---|---|
//! | `POST /validate` | refuses an object of our own kinds with the text of `meshctl validate`; warns of one of the Gateway API's, which other controllers may read |
//! | `POST /inject` | a pod with its sidecar, as a JSON patch |
//!
//! May use `web`, `inject`, `ca`, `publish` and `kubernetes`.

mod pod;
mod review;

use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use k8s_openapi::api::core::v1 as core;
use kube::core::admission::AdmissionResponse;
use kube::{Api, Client};
use mesh_api::resource::{Kind, ResourceKey};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;

use crate::ca::Authority;
use crate::certificate::SharedTls;
use crate::error::Error;
use crate::index::Index;
use crate::inject::{Namespace, Settings};
use crate::kubernetes::failed;
use crate::publish::Publisher;
use crate::state::hexadecimal;
use crate::web::{self, Answer, Refusal, Stopping};
use review::{Asked, answer_review, read_review};

/// What reviews are made with.
pub(crate) struct Webhook {
    /// Asks the API server.
    pub(crate) client: Client,
    /// Namespaces with their labels.
    pub(crate) publisher: Arc<Publisher>,
    /// The trusted roots.
    pub(crate) authority: Arc<Authority>,
    /// The settings of injection.
    pub(crate) injection: PathBuf,
}

/// Serves the API server until dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: SharedTls,
    stopping: Stopping,
    webhook: Arc<Webhook>,
) {
    let answer = move |request| {
        let webhook = Arc::clone(&webhook);
        async move {
            let answered = webhook.answer(request).await;
            answered.unwrap_or_else(|refusal| web::refuse(&refusal))
        }
    };
    web::serve(listener, Some(tls), Some(stopping), answer).await;
}

impl Webhook {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let path = request.uri().path().to_owned();
        if request.method() != Method::POST {
            let text = "an AdmissionReview comes by POST".to_owned();
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, text));
        }
        let body = web::read_body(request, MAX_REVIEW).await?;
        let bad = |text: String| Refusal(StatusCode::BAD_REQUEST, text);
        let asked = read_review(&body).map_err(bad)?;
        let response = match path.as_str() {
            "/validate" => review::validate(&asked),
            "/inject" => self.inject(&asked).await,
            _ => return Err(Refusal(StatusCode::NOT_FOUND, format!("no {path} here"))),
        };
        Ok(web::ok(&answer_review(response)))
    }

    /// The settings are read anew: the ConfigMap they are mounted from may have changed.
    async fn inject(&self, asked: &Asked) -> AdmissionResponse {
        let settings = match Settings::load(&self.injection) {
            Ok(settings) => settings,
            Err(error) => return asked.deny(&error.chain()),
        };
        let namespace = match self.namespace(&asked.namespace).await {
            Ok(namespace) => namespace,
            Err(error) => return asked.deny(&error.chain()),
        };
        let roots = self.authority.roots();
        let hashes: Vec<String> = roots.iter().map(hash).collect();
        pod::inject(asked, &namespace, &settings, &hashes)
    }

    /// A namespace that was made just before its first pod may not be in the index yet.
    async fn namespace(&self, name: &str) -> Result<Namespace, Error> {
        let labels = name.parse().ok().and_then(|known| {
            let key = ResourceKey {
                kind: Kind::Namespace,
                namespace: None,
                name: known,
            };
            let labels = |index: &Index| {
                let namespace = index.resource(&key)?;
                Some(namespace.metadata().labels.clone().unwrap_or_default())
            };
            self.publisher.read(labels)
        });
        let labels = if let Some(labels) = labels {
            labels
        } else {
            let api: Api<core::Namespace> = Api::all(self.client.clone());
            let found = api.get_metadata(name).await;
            let found = found.map_err(failed(format!("read namespace {name}")))?;
            found.metadata.labels.unwrap_or_default()
        };
        Ok(Namespace {
            name: name.to_owned(),
            labels,
        })
    }
}

/// SHA-256, lower-case hexadecimal: how a proxy knows a root.
fn hash(root: &CertificateDer<'static>) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
    hexadecimal(digest.as_ref())
}

/// The API server takes no object larger than this.
const MAX_REVIEW: usize = 4 * 1024 * 1024;
