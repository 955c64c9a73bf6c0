//! The kubelet's probes, relayed to the app: the kubelet has no identity, so it may not dial the app
//! of a workload that takes mutual TLS only.
//!
//! Only probes of the bootstrap are made; a caller chooses among them and no more. May use nothing of
//! this crate.

mod grpc;
mod http;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mesh_api::pod::{Action, Probe};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Longest time for one probe, whatever it says.
const MAX_TIMEOUT: Duration = Duration::from_hours(1);
/// Most bytes of the app's answer that are passed on: a kubelet prints them where a probe fails.
const MAX_BODY: usize = 4 * 1024;

/// What the caller is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The app's status, or 503 where it does not answer.
    pub(crate) status: u16,
    /// What the app says, or what is wrong.
    pub(crate) body: Vec<u8>,
}

/// Why the app's word could not be had.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Http2(#[from] h2::Error),
    #[error("the probe itself: {0}")]
    Request(#[from] ::http::Error),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Unhealthy(String),
}

/// Makes `probe` of the app at `app`.
pub(crate) async fn relay(probe: &Probe, app: IpAddr) -> Answer {
    let timeout = Duration::from_secs(u64::from(probe.timeout_seconds)).min(MAX_TIMEOUT);
    let (port, made) = match &probe.action {
        Action::HttpGet(get) => {
            let to = SocketAddr::new(app, get.port);
            (
                get.port,
                tokio::time::timeout(timeout, http::get(to, get)).await,
            )
        }
        Action::TcpSocket { port } => {
            let to = SocketAddr::new(app, *port);
            (*port, tokio::time::timeout(timeout, connects(to)).await)
        }
        Action::Grpc(check) => {
            let to = SocketAddr::new(app, check.port);
            let made = grpc::check(to, &check.service);
            (check.port, tokio::time::timeout(timeout, made).await)
        }
    };
    match made {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => unanswered(port, &error.to_string()),
        Err(_) => unanswered(port, &format!("no answer within {} s", timeout.as_secs())),
    }
}

/// Whether what answers on `stream` says by gRPC that `service` serves.
///
/// # Errors
/// Why not.
pub(crate) async fn serves<S>(stream: S, to: SocketAddr, service: &str) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = grpc::check_on(stream, to, service).await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// The status that what answers on `stream` gives to `request`, by HTTP/1.1.
///
/// # Errors
/// There is none.
pub(crate) async fn status_http1<S>(stream: S, request: ::http::Request<()>) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let answer = http::ask(stream, request).await;
    answer
        .map(|answer| answer.status)
        .map_err(|error| error.to_string())
}

async fn connects(to: SocketAddr) -> Result<Answer, ProbeError> {
    TcpStream::connect(to).await?;
    Ok(healthy(b"connected"))
}

fn healthy(body: &[u8]) -> Answer {
    Answer {
        status: 200,
        body: body.to_owned(),
    }
}

fn unanswered(port: u16, why: &str) -> Answer {
    Answer {
        status: 503,
        body: format!("mesh-proxy asked the app on port {port}: {why}").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::pod::Probes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// The answer to a probe, and what an app that says `says` heard.
    async fn probe(text: &str, says: &'static [u8]) -> (Answer, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = text.replace("PORT", &address.port().to_string());
        let probe: Probe = serde_json::from_str(&text).unwrap();
        let app = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let read = stream.read(&mut heard).await.unwrap_or(0);
            stream.write_all(says).await.unwrap_or_default();
            String::from_utf8_lossy(&heard[..read]).into_owned()
        };
        tokio::join!(relay(&probe, address.ip()), app)
    }

    #[tokio::test]
    async fn the_apps_status_is_passed_on() {
        let asks = r#"{"httpGet":{"path":"/ready?a=1","port":PORT,"httpHeaders":[
            {"name":"X-Probe","value":"yes"},{"name":"Host","value":"app.example"}]}}"#;
        let says = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nbusy";
        let (answer, heard) = probe(asks, says).await;
        assert_eq!((answer.status, answer.body.as_slice()), (429, &b"busy"[..]));
        let heard = heard.to_ascii_lowercase();
        assert!(heard.starts_with("get /ready?a=1 http/1.1\r\n"), "{heard}");
        assert!(heard.contains("x-probe: yes\r\n"), "{heard}");
        assert!(heard.contains("host: app.example\r\n"), "{heard}");
        assert_eq!(heard.matches("host:").count(), 1, "{heard}");
        assert!(heard.contains("user-agent: kube-probe/"), "{heard}");
    }

    #[tokio::test]
    async fn a_connection_is_enough_where_only_that_is_asked() {
        let (answer, _) = probe(r#"{"tcpSocket":{"port":PORT}}"#, b"").await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn what_does_not_answer_is_unhealthy() {
        let (answer, _) = probe(r#"{"httpGet":{"port":PORT}}"#, b"nonsense\r\n\r\n").await;
        assert_eq!(answer.status, 503);
        let probes: Probes =
            serde_json::from_str(r#"{"app":{"liveness":{"tcpSocket":{"port":1}}}}"#).unwrap();
        let wanted = probes.find("/probe/app/liveness").unwrap();
        let answer = relay(wanted, "127.0.0.1".parse().unwrap()).await;
        let text = String::from_utf8(answer.body).unwrap();
        assert!(answer.status == 503 && text.contains("port 1: "), "{text}");
    }
}
