//! What the API server asks before it takes an object in.
//!
//! | path | answer |
//! |---|---|
//! | `POST /validate` | refuses an object of our own kinds with the text of `meshctl validate`; warns of one of the Gateway API's, which other controllers may read |
//! | `POST /inject` | a pod with its sidecar, as a JSON patch |
//!
//! May use `web`, `inject`, `ca`, `publish` and `kubernetes`.

mod review;

use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;

use crate::ca::Authority;
use crate::certificate::SharedTls;
use crate::publish::Publisher;
use crate::web::{self, Answer, Refusal};
use review::{answer_review, read_review};

/// What reviews are made with.
pub(crate) struct Webhook {
    /// Namespaces with their labels.
    pub(crate) publisher: Arc<Publisher>,
    /// The trusted roots.
    pub(crate) authority: Arc<Authority>,
    /// The settings of injection.
    pub(crate) injection: PathBuf,
}

/// Serves the API server until dropped.
pub(crate) async fn serve(listener: TcpListener, tls: SharedTls, webhook: Arc<Webhook>) {
    let answer = move |request| {
        let webhook = Arc::clone(&webhook);
        async move {
            let answered = webhook.answer(request).await;
            answered.unwrap_or_else(|refusal| web::refuse(&refusal))
        }
    };
    web::serve(listener, Some(tls), answer).await;
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
            "/inject" => asked.allow(),
            _ => return Err(Refusal(StatusCode::NOT_FOUND, format!("no {path} here"))),
        };
        Ok(web::ok(&answer_review(response)))
    }
}

/// The API server takes no object larger than this.
const MAX_REVIEW: usize = 4 * 1024 * 1024;
