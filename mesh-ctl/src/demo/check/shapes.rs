//! HTTP/1.1 in all its shapes through two sidecars.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Figure;
use crate::demo::digest::sha256;
use crate::demo::mesh::Mesh;
use crate::source::http::{Connection, get, request};

/// Longest wait for bytes.
const PATIENCE: Duration = Duration::from_secs(5);
/// A body that does not fit in any buffer on the way.
const LARGE: usize = 3 * 1024 * 1024;

/// Sends each shape to the catalog.
pub(super) async fn check(mesh: &Mesh) -> Figure {
    let address = mesh.outbound("catalog")?;
    let shapes: [(&str, anyhow::Result<()>); 11] = [
        ("kept connection", kept(address).await),
        ("HEAD", head(address).await),
        (
            "chunked response with trailers",
            chunked_response(address).await,
        ),
        (
            "chunked request with trailers",
            chunked_request(address).await,
        ),
        ("100-continue", expect_continue(address).await),
        ("pipelining", pipelined(address).await),
        ("statuses without a body", bodiless(address).await),
        ("large request", large_request(address).await),
        ("large response", large_response(address).await),
        ("header fields in order", fields(address).await),
        ("HTTP/1.0", old(address).await),
    ];
    let mut names = Vec::new();
    for (name, result) in shapes {
        result.with_context(|| name.to_owned())?;
        names.push(name);
    }
    Ok(format!("{} shapes: {}", names.len(), names.join(", ")))
}

async fn kept(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    for number in 0..20 {
        let answer = connection
            .exchange(get(&format!("/items/{number}"), "catalog")?)
            .await?;
        ensure!(
            answer.status == 200,
            "status {}: {}",
            answer.status,
            answer.header("mesh-error")
        );
        ensure!(
            answer.json()?["item"] == number,
            "the answer is another item's"
        );
    }
    Ok(())
}

async fn head(address: SocketAddr) -> anyhow::Result<()> {
    let text = "HEAD /bytes?n=1000 HTTP/1.1\r\nHost: catalog\r\n\r\n\
        GET /items/1 HTTP/1.1\r\nHost: catalog\r\nConnection: close\r\n\r\n";
    let answer = exchange(address, text.as_bytes())
        .await?
        .to_ascii_lowercase();
    ensure!(
        answer.contains("content-length: 1000\r\n"),
        "the length is missing: {answer:?}"
    );
    ensure!(
        answer.matches("http/1.1 200").count() == 2,
        "the next answer is lost: {answer:?}"
    );
    ensure!(!answer.contains("abcdefgh"), "a body came after all");
    Ok(())
}

async fn chunked_response(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let mut request = get("/chunked?n=500", "catalog")?;
    request.headers_mut().insert("te", "trailers".parse()?);
    let answer = connection.exchange(request).await?;
    let lines = answer.body.split(|&byte| byte == b'\n').count() - 1;
    ensure!(lines == 500, "{lines} of 500 chunks came");
    let trailers = answer.trailers.context("no trailers came")?;
    ensure!(
        trailers.get("x-chunks").is_some_and(|count| count == "500"),
        "wrong trailers: {trailers:?}"
    );
    Ok(())
}

async fn chunked_request(address: SocketAddr) -> anyhow::Result<()> {
    let text = "POST /echo HTTP/1.1\r\nHost: catalog\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\
        Connection: close\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-sum: 11\r\n\r\n";
    let echo = echoed(&exchange(address, text.as_bytes()).await?)?;
    is_body(&echo, b"hello world")?;
    ensure!(
        echo["trailers"].to_string().contains("x-sum"),
        "the trailers are lost: {echo}"
    );
    Ok(())
}

async fn expect_continue(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = "POST /echo HTTP/1.1\r\nHost: catalog\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\
        Connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut interim = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut interim))
        .await
        .context("no 100 came")??;
    ensure!(
        interim.starts_with(b"HTTP/1.1 100 "),
        "{:?} came first",
        String::from_utf8_lossy(&interim)
    );
    stream.write_all(b"body").await?;
    is_body(&echoed(&read_all(&mut stream).await?)?, b"body")
}

async fn pipelined(address: SocketAddr) -> anyhow::Result<()> {
    let mut text = String::new();
    for number in 0..10 {
        let close = if number == 9 {
            "Connection: close\r\n"
        } else {
            ""
        };
        let head = format!("GET /items/{number} HTTP/1.1\r\nHost: catalog\r\n{close}\r\n");
        text.push_str(&head);
    }
    let answer = exchange(address, text.as_bytes()).await?;
    let mut rest = answer.as_str();
    for number in 0..10 {
        let item = format!("\"item\":{number},");
        let (_, after) = rest
            .split_once(&item)
            .with_context(|| format!("item {number} is missing or out of order"))?;
        rest = after;
    }
    Ok(())
}

async fn bodiless(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    for status in [204, 304, 205, 404, 503] {
        let answer = connection
            .exchange(get(&format!("/status/{status}"), "catalog")?)
            .await?;
        ensure!(
            answer.status == status,
            "{status} came as {}",
            answer.status
        );
    }
    Ok(())
}

async fn large_request(address: SocketAddr) -> anyhow::Result<()> {
    let body = vec![b'x'; LARGE];
    let mut connection = Connection::open(address).await?;
    let answer = connection
        .exchange(request("PUT", "/echo", "catalog", body.clone())?)
        .await?;
    is_body(&answer.json()?, &body)
}

async fn large_response(address: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::open(address).await?;
    let answer = connection
        .exchange(get(&format!("/bytes?n={LARGE}"), "catalog")?)
        .await?;
    let expected = (0..LARGE).map(|index| b'a' + u8::try_from(index % 26).unwrap_or(0));
    ensure!(
        answer.body.iter().copied().eq(expected),
        "the body differs ({} bytes)",
        answer.body.len()
    );
    Ok(())
}

async fn fields(address: SocketAddr) -> anyhow::Result<()> {
    let text = "GET /echo?a=%2F&a=%20 HTTP/1.1\r\nHost: catalog\r\nX-One: 1\r\nx-two:2\r\nX-One:  3 \r\n\
        Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nConnection: close\r\n\r\n";
    let echo = echoed(&exchange(address, text.as_bytes()).await?)?;
    ensure!(
        echo["target"] == "/echo?a=%2F&a=%20",
        "the target changed to {}",
        echo["target"]
    );
    let fields = echo["headers"].as_array().context("no headers")?;
    let own: Vec<String> = fields
        .iter()
        .filter_map(|field| Some((field[0].as_str()?.to_ascii_lowercase(), field[1].as_str()?)))
        .filter(|(name, _)| name.starts_with("x-") || name == "traceparent")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let expected = [
        "x-one=1",
        "x-two=2",
        "x-one=3",
        "traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    ensure!(own == expected, "the fields came as {own:?}");
    Ok(())
}

async fn old(address: SocketAddr) -> anyhow::Result<()> {
    let answer = exchange(address, b"GET /items/4 HTTP/1.0\r\nHost: catalog\r\n\r\n").await?;
    ensure!(
        answer.contains(" 200 ") && answer.contains("\"item\":4,"),
        "{answer:?}"
    );
    ensure!(
        !answer.to_ascii_lowercase().contains("transfer-encoding"),
        "chunks for HTTP/1.0"
    );
    Ok(())
}

/// Sends `bytes` and reads until the other end closes.
pub(super) async fn exchange(address: SocketAddr, bytes: &[u8]) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    read_all(&mut stream).await
}

async fn read_all(stream: &mut TcpStream) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .context("the connection stays open")??;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The JSON body of a response of `/echo`.
fn echoed(response: &str) -> anyhow::Result<Value> {
    let (head, body) = response.split_once("\r\n\r\n").context("no head came")?;
    ensure!(head.contains(" 200 "), "{head}");
    let start = body.find('{').context("no body came")?;
    let end = body.rfind('}').context("the body is cut")?;
    Ok(serde_json::from_str(
        body.get(start..=end).unwrap_or_default(),
    )?)
}

fn is_body(echo: &Value, expected: &[u8]) -> anyhow::Result<()> {
    let body = &echo["body"];
    ensure!(
        body["sha256"] == sha256(expected),
        "the body came as {body}, not {} bytes",
        expected.len()
    );
    Ok(())
}
