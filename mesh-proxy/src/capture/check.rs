//! Whether the rules are in place: the proxy dials a port of nobody's on loopback, which only the
//! rules lead to its own listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Time for one dial and its answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes by which a proxy knows its own listener.
const SECRET: usize = 16;

/// A check that can be made again and again, and what it last found.
#[derive(Debug)]
pub struct Check {
    port: u16,
    secret: [u8; SECRET],
    passed: AtomicBool,
}

/// Connections are not redirected.
#[derive(Debug, thiserror::Error)]
pub enum NotRedirected {
    /// Nothing answers.
    #[error("a connection to {address} is not redirected to the proxy")]
    Nobody {
        /// What was dialled.
        address: SocketAddr,
        /// What came of it.
        source: io::Error,
    },
    /// Somebody else answers.
    #[error("a connection to {0} reached somebody else than this proxy")]
    Foreign(SocketAddr),
}

impl Check {
    /// A check by `port` that was not made yet.
    pub fn new(port: u16) -> Self {
        let mut secret = [0; SECRET];
        fastrand::Rng::new().fill(&mut secret);
        Self {
            port,
            secret,
            passed: AtomicBool::new(false),
        }
    }

    /// True if it passed the last time.
    pub fn has_passed(&self) -> bool {
        self.passed.load(Ordering::Acquire)
    }

    /// True for a connection that was made to check.
    pub fn is_meant(&self, original: SocketAddr) -> bool {
        original.ip().is_loopback() && original.port() == self.port
    }

    /// Answers such a connection.
    pub async fn answer(&self, mut stream: TcpStream) {
        let written = stream.write_all(&self.secret);
        if !matches!(tokio::time::timeout(PATIENCE, written).await, Ok(Ok(()))) {
            tracing::debug!("the check of the redirect went away");
        }
    }

    /// Dials once for each family of `listeners`.
    ///
    /// # Errors
    /// The first that did not arrive.
    pub async fn make(&self, listeners: &[SocketAddr]) -> Result<(), NotRedirected> {
        let made = self.dial_all(listeners).await;
        self.passed.store(made.is_ok(), Ordering::Release);
        made
    }

    async fn dial_all(&self, listeners: &[SocketAddr]) -> Result<(), NotRedirected> {
        for listener in listeners {
            let ip = match listener.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            let address = SocketAddr::new(ip, self.port);
            let answer = tokio::time::timeout(PATIENCE, dial(address)).await;
            let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let answer = answer.map_err(|source| NotRedirected::Nobody { address, source })?;
            if answer != self.secret {
                return Err(NotRedirected::Foreign(address));
            }
        }
        Ok(())
    }
}

async fn dial(address: SocketAddr) -> io::Result<[u8; SECRET]> {
    let mut answer = [0; SECRET];
    let mut stream = TcpStream::connect(address).await?;
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_its_own_answer_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (check, other) = (Check::new(address.port()), Check::new(address.port()));
        let answering = async {
            check.answer(listener.accept().await.unwrap().0).await;
            other.answer(listener.accept().await.unwrap().0).await;
            drop(listener);
        };
        let checking = async {
            assert!(check.make(&[address]).await.is_ok());
            assert!(check.has_passed());
            let foreign = check.make(&[address]).await;
            assert!(
                matches!(foreign, Err(NotRedirected::Foreign(_))),
                "{foreign:?}"
            );
            assert!(!check.has_passed());
        };
        tokio::join!(answering, checking);
        let nobody = check.make(&[address]).await;
        assert!(
            matches!(nobody, Err(NotRedirected::Nobody { .. })),
            "{nobody:?}"
        );
    }
}
