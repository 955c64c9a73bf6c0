//! PING on both ends of a connection: a peer that stops answering is dead, whatever TCP says.

use std::future::{pending, poll_fn};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Between an answer and the next PING.
const INTERVAL: Duration = Duration::from_secs(10);
/// Allowed for an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Returns when the peer stops answering. Calls `tick` between PINGs. The connection must be
/// polled meanwhile.
pub(crate) async fn watch(ping: Option<PingPong>, mut tick: impl FnMut()) {
    let Some(mut ping) = ping else {
        return pending().await;
    };
    loop {
        sleep(INTERVAL).await;
        tick();
        if ping.send_ping(Ping::opaque()).is_err() {
            // The connection is ending by itself, and reports that where it is polled.
            return pending().await;
        }
        match timeout(ANSWER, poll_fn(|context| ping.poll_pong(context))).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return pending().await,
            Err(_) => return,
        }
    }
}
