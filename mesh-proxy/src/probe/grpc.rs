//! A probe by gRPC: one call of `grpc.health.v1.Health/Check`.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Answer, MAX_BODY, ProbeError, healthy};

/// What is asked.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// What is answered.
#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `SERVING` of the protocol.
const SERVING: i32 = 1;
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Asks the app at `to` for the health of `service`.
pub(super) async fn check(to: SocketAddr, service: &str) -> Result<Answer, ProbeError> {
    check_on(TcpStream::connect(to).await?, to, service).await
}

/// Asks what answers on `stream`, as the server at `to`.
pub(super) async fn check_on<S>(
    stream: S,
    to: SocketAddr,
    service: &str,
) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, connection) = h2::client::handshake(stream).await?;
    let asked = ask(sender, to, service);
    tokio::pin!(asked, connection);
    tokio::select! {
        answer = &mut asked => answer,
        ended = &mut connection => {
            ended?;
            asked.await
        }
    }
}

async fn ask(
    sender: h2::client::SendRequest<Bytes>,
    to: SocketAddr,
    service: &str,
) -> Result<Answer, ProbeError> {
    let mut sender = sender.ready().await?;
    let request = Request::post(format!("http://{to}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1 (by mesh-proxy)")
        .body(())?;
    let (response, mut body) = sender.send_request(request, false)?;
    body.send_data(framed(service), true)?;
    let (head, mut received) = response.await?.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(data) = received.data().await {
        let data = data?;
        received.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
        if bytes.len() > MAX_BODY {
            return Err(unhealthy("its answer is too long"));
        }
    }
    check_status(&head.headers)?;
    if let Some(trailers) = received.trailers().await? {
        check_status(&trailers)?;
    }
    let message = bytes.get(PREFIX..).unwrap_or_default();
    let answer = CheckResponse::decode(message);
    match answer.map(|answer| answer.status) {
        Ok(SERVING) => Ok(healthy(b"SERVING")),
        Ok(status) => Err(unhealthy(&format!("its health is {status}, not SERVING"))),
        Err(error) => Err(unhealthy(&error.to_string())),
    }
}

fn framed(service: &str) -> Bytes {
    let message = CheckRequest {
        service: service.to_owned(),
    };
    let message = message.encode_to_vec();
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    framed.freeze()
}

/// gRPC tells of failures in the head where there is no message, else in the trailers.
fn check_status(fields: &HeaderMap) -> Result<(), ProbeError> {
    let Some(status) = fields.get("grpc-status") else {
        return Ok(());
    };
    if status == "0" {
        return Ok(());
    }
    let message = fields
        .get("grpc-message")
        .and_then(|text| text.to_str().ok());
    let message = message.unwrap_or_default();
    let status = status.to_str().unwrap_or("unknown");
    Err(unhealthy(&format!(
        "the call failed, status {status} {message}"
    )))
}

fn unhealthy(why: &str) -> ProbeError {
    ProbeError::Unhealthy(why.to_owned())
}

#[cfg(test)]
mod tests {
    use http::Response;
    use tokio::net::TcpListener;

    use super::*;

    /// What a check says of a server that answers `health`, and gRPC's `status` in its trailers.
    async fn checked(health: i32, status: &'static str) -> Result<Answer, ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let serving = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut server = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = server.accept().await.unwrap().unwrap();
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let message = CheckResponse { status: health }.encode_to_vec();
            let mut bytes = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
            bytes.extend(message);
            body.send_data(bytes.into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            body.send_trailers(trailers).unwrap();
            while server.accept().await.is_some_and(|next| next.is_ok()) {}
        };
        tokio::select! {
            answer = check(to, "shop") => answer,
            () = async { serving.await; std::future::pending().await } => unreachable!("never"),
        }
    }

    #[tokio::test]
    async fn only_serving_is_healthy() {
        assert_eq!(checked(1, "0").await.unwrap().status, 200);
        for (health, status, said) in [(2, "0", "not SERVING"), (1, "12", "status 12")] {
            let error = checked(health, status).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
