//! A relay between two sidecars that keeps what it carries, and a reader of TLS records.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::MARKER;

/// Bytes kept in each direction.
const KEEP: usize = 1024 * 1024;
/// `supported_versions` of a `ServerHello` that chose TLS 1.3 (RFC 8446 section 4.2.1).
const CHOSE_TLS13: [u8; 6] = [0x00, 0x2b, 0x00, 0x02, 0x03, 0x04];

/// The relay; it ends when dropped.
pub(super) struct Relay {
    kept: Kept,
    _accepting: JoinSet<()>,
}

/// Bytes of the client and of the server, each over all connections in order.
#[derive(Clone, Default)]
struct Kept([Arc<Mutex<Vec<u8>>>; 2]);

impl Relay {
    /// Listens at `at` and relays to `to`.
    pub(super) async fn start(at: SocketAddr, to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let kept = Kept::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, to, kept.clone()));
        Ok(Self {
            kept,
            _accepting: accepting,
        })
    }

    /// Checks what was kept: TLS 1.3 both ways, and no marker. A line about it.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        let [client, server] = self.kept.take();
        let mut application = 0;
        for (who, bytes) in [("client", &client), ("server", &server)] {
            let marker = bytes
                .windows(MARKER.len())
                .any(|window| window == MARKER.as_bytes());
            ensure!(!marker, "the {who} sent the marker in plaintext");
            application +=
                application_records(bytes).with_context(|| format!("bytes of the {who}"))?;
        }
        // The first record of the server is its `ServerHello`, up to 16 KiB long.
        let hello = server
            .get(..(16 * 1024).min(server.len()))
            .unwrap_or_default();
        let length = match hello {
            [22, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) + 5,
            _ => 0,
        };
        let hello = hello.get(..length).unwrap_or_default();
        let is_tls13 = hello
            .windows(CHOSE_TLS13.len())
            .any(|window| window == CHOSE_TLS13);
        ensure!(is_tls13, "the server did not choose TLS 1.3");
        let (sent, received) = (client.len(), server.len());
        Ok(format!(
            "TLS 1.3, {sent} and {received} bytes in {application} sealed records"
        ))
    }
}

impl Kept {
    fn take(&self) -> [Vec<u8>; 2] {
        let [client, server] = &self.0;
        [client, server].map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, kept: Kept) {
    let mut relaying = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(to).await else {
            continue;
        };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let [client, server] = kept.0.clone();
        relaying.spawn(copy(from_client, to_server, client));
        relaying.spawn(copy(from_server, to_client, server));
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    kept: Arc<Mutex<Vec<u8>>>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let fresh = buffer.get(..count).unwrap_or_default();
        {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let room = KEEP.saturating_sub(kept.len()).min(count);
            kept.extend_from_slice(fresh.get(..room).unwrap_or_default());
        }
        if to.write_all(fresh).await.is_err() {
            return;
        }
    }
    // The other end may have closed first.
    to.shutdown().await.ok();
}

/// Counts sealed records; an error where the bytes are not TLS records (RFC 8446 section 5.1).
fn application_records(mut bytes: &[u8]) -> anyhow::Result<usize> {
    let mut sealed = 0;
    while let [kind, 3, minor, high, low, rest @ ..] = bytes {
        ensure!(
            matches!(kind, 20..=23) && *minor <= 4,
            "record type {kind}, version 3.{minor}"
        );
        sealed += usize::from(*kind == 23);
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(after) = rest.get(length..) else {
            return Ok(sealed); // cut by the limit, or still on its way
        };
        bytes = after;
    }
    ensure!(bytes.len() < 5, "bytes that are no TLS record");
    ensure!(sealed > 0, "no sealed record");
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_records_pass() {
        assert_eq!(
            application_records(&[22, 3, 1, 0, 1, 9, 23, 3, 3, 0, 2, 1, 2]).unwrap(),
            1
        );
        assert!(application_records(b"GET / HTTP/1.1\r\n").is_err());
        assert!(
            application_records(&[22, 3, 1, 0, 1, 9]).is_err(),
            "a handshake alone"
        );
    }
}
