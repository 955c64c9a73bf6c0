//! One check of one endpoint.

use http::Request;
use mesh_api::decide::version::{self, HttpVersion};
use mesh_api::model::backend::Endpoint;
use mesh_api::model::health::{HealthCheck, HttpQuestion, Question};
use mesh_api::snapshot::BackendTable;

use super::Tools;
use crate::probe;
use crate::tunnel::Hint;
use crate::upstream::Stream;

/// As apps know the mesh's checks.
const AGENT: &str = "mesh-health-check/1";

/// Asks `endpoint` as `check` says.
///
/// # Errors
/// Why it is not well.
pub(super) async fn ask(
    tools: &Tools,
    backend: &BackendTable,
    endpoint: &Endpoint,
    check: &HealthCheck,
) -> Result<(), String> {
    let spoken = version::upstream(&endpoint.transport, backend.protocol, HttpVersion::Http1);
    let hint = match (&check.question, spoken) {
        (Question::Tcp, _) => Hint::Tcp,
        (Question::Http(_), HttpVersion::Http1) => Hint::Http,
        (Question::Http(_), HttpVersion::Http2) | (Question::Grpc(_), _) => Hint::Http2,
    };
    let credentials = tools.shared.config.identity().current();
    let dialled = tools
        .dialer
        .dial(endpoint, credentials.as_ref(), Some(hint), check.timeout);
    let stream = dialled.await.map_err(|error| with_cause(&error))?;
    match &check.question {
        Question::Tcp => Ok(()),
        Question::Grpc(service) => probe::serves(stream, endpoint.address, service).await,
        Question::Http(http) => {
            let request = request(http, endpoint).map_err(|error| error.to_string())?;
            let status = match spoken {
                HttpVersion::Http1 => probe::status_http1(stream, request).await,
                HttpVersion::Http2 => status_http2(stream, request).await,
            }?;
            let is_expected = http.expected.iter().any(|range| range.contains(status));
            is_expected
                .then_some(())
                .ok_or_else(|| format!("status {status}"))
        }
    }
}

/// The request, by the version's own form of its target.
fn request(http: &HttpQuestion, endpoint: &Endpoint) -> Result<Request<()>, http::Error> {
    let host = http
        .host
        .as_ref()
        .map_or_else(|| endpoint.address.to_string(), ToString::to_string);
    Request::builder()
        .method(http.method.as_str())
        .uri(format!("http://{host}{}", http.path))
        .header("user-agent", AGENT)
        .body(())
}

async fn status_http2(stream: Stream, request: Request<()>) -> Result<u16, String> {
    let text = |error: h2::Error| error.to_string();
    let (sender, connection) = h2::client::handshake(stream).await.map_err(text)?;
    let asked = async {
        let mut sender = sender.ready().await?;
        let (response, _) = sender.send_request(request, true)?;
        Ok::<_, h2::Error>(response.await?.status().as_u16())
    };
    tokio::pin!(asked, connection);
    tokio::select! {
        status = &mut asked => status.map_err(text),
        ended = &mut connection => {
            ended.map_err(text)?;
            asked.await.map_err(text)
        }
    }
}

/// An error with what it came from.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
