//! What a tunnel must bear: bodies of one byte at a time, and connections that say nothing for long.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use e2e::backend::{Backend, sink};
use e2e::figure::record;
use e2e::mesh::Mesh;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn one_byte_at_a_time() -> anyhow::Result<()> {
    let limit = Duration::from_mins(2);
    timeout(limit, http2(200_000)).await??;
    timeout(limit, tcp(200_000)).await?
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask prove one_byte"]
async fn prove_one_byte_at_a_time() -> anyhow::Result<()> {
    let limit = Duration::from_mins(20);
    timeout(limit, http2(10_000_000)).await??;
    timeout(limit, tcp(10_000_000)).await?
}

/// One request whose body is so many DATA frames of one byte.
async fn http2(count: usize) -> anyhow::Result<()> {
    let app = sink().await?;
    let (_mesh, address) = Mesh::pair("kubernetes.io/h2c", app.port).await?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut client, connection) = h2::client::handshake(stream).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let begun = Instant::now();
    let request = ::http::Request::post("http://echo/count").body(())?;
    let (answer, mut body) = client.send_request(request, false)?;
    for number in 1..=count {
        body.reserve_capacity(1);
        while body.capacity() == 0 {
            let more = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            more.context("the stream ended")??;
        }
        body.send_data(Bytes::from_static(b"x"), number == count)?;
    }
    let mut body = answer.await?.into_body();
    let text = body.data().await.context("no answer")??;
    let goaway = driver.try_join_next();
    ensure!(goaway.is_none(), "the connection ended: {goaway:?}");
    ensure!(text == count.to_string(), "{text:?} of {count} bytes");
    record(
        "one-byte-http2",
        format!(
            "{count} of {count} DATA frames of one byte, 0 GOAWAY, {:.0} s",
            begun.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// So many writes of one byte each way, as opaque bytes.
async fn tcp(count: usize) -> anyhow::Result<()> {
    let app = Backend::start(|mut stream, _seen| async move {
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await?;
        Ok(writer.shutdown().await?)
    })
    .await?;
    let (_mesh, address) = Mesh::pair("tcp", app.port).await?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let begun = Instant::now();
    let (mut reader, mut writer) = stream.into_split();
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        for _ in 0..count {
            writer.write_all(b"x").await?;
        }
        writer.shutdown().await
    });
    let mut back = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer).await? {
            0 => break,
            read => back += read,
        }
    }
    writing.join_next().await.context("one task")???;
    ensure!(back == count, "{back} of {count} bytes came back");
    record(
        "one-byte-tcp",
        format!(
            "{back} of {count} writes of one byte came back, then the end; {:.0} s",
            begun.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "takes an hour: cargo xtask prove idle_websocket"]
async fn prove_idle_websocket_lives_an_hour() -> anyhow::Result<()> {
    websocket(Duration::from_hours(1)).await
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn idle_websocket_lives() -> anyhow::Result<()> {
    websocket(Duration::from_secs(20)).await
}

/// An upgraded connection that says nothing for a while, then one frame each way.
async fn websocket(idle: Duration) -> anyhow::Result<()> {
    let app = Backend::start(|stream, _seen| async move {
        let mut stream = BufStream::new(stream);
        head(&mut stream).await?;
        let accept =
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(accept).await?;
        stream.flush().await?;
        let mut frame = [0; 7];
        while stream.read_exact(&mut frame).await.is_ok() {
            // The same byte back, without the mask.
            stream.write_all(&[0x81, 1, frame[6] ^ frame[2]]).await?;
            stream.flush().await?;
        }
        Ok(())
    })
    .await?;
    let (_mesh, address) = Mesh::pair("http", app.port).await?;
    let mut stream = BufStream::new(TcpStream::connect(address).await?);
    let ask = b"GET / HTTP/1.1\r\nhost: echo\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask).await?;
    stream.flush().await?;
    let answer = head(&mut stream).await?;
    ensure!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    let mut turns = 0;
    for pause in [Duration::ZERO, idle] {
        tokio::time::sleep(pause).await;
        stream
            .write_all(&[0x81, 0x81, 1, 2, 3, 4, b'x' ^ 1])
            .await?;
        stream.flush().await?;
        let mut frame = [0; 3];
        let read = stream.read_exact(&mut frame);
        timeout(Duration::from_secs(5), read)
            .await
            .context("no frame")??;
        ensure!(frame == [0x81, 1, b'x'], "{frame:?}");
        turns += 1;
    }
    record(
        "idle-websocket",
        format!("{turns} of 2 frames each way, {} s apart", idle.as_secs()),
    );
    Ok(())
}

async fn head(stream: &mut BufStream<TcpStream>) -> anyhow::Result<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(text)?)
}
