//! Watches that the workload's connections are redirected to the proxy. A workload whose connections
//! go past it would talk in plaintext: it is never ready.

use std::sync::Arc;
use std::time::Duration;

use crate::bootstrap::Capture;
use crate::capture::Check;

/// Between tries until the first success, and after it.
const FIRST: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(15);
/// Tries that fail before it is said, and between two times that it is.
const QUIET: u32 = 20;
const REPEAT: u32 = 300;

/// Checks for ever.
pub(super) async fn watch(check: Arc<Check>, capture: Capture) {
    let mut failures = 0u32;
    let mut was_redirected = false;
    loop {
        match check.make(&capture.outbound).await {
            Ok(()) => {
                if failures > 0 || !was_redirected {
                    tracing::info!("connections of this workload are redirected to its proxy");
                }
                (failures, was_redirected) = (0, true);
            }
            Err(error) => {
                failures += 1;
                if was_redirected || failures % REPEAT == QUIET {
                    tracing::error!(
                        %error,
                        "not ready: the rules of nftables that redirect connections are not there; \
                         look at the log of the init container mesh-init, or, with the CNI plug-in, \
                         at the DaemonSet mesh-cni on this node"
                    );
                }
                was_redirected = false;
            }
        }
        tokio::time::sleep(if was_redirected { LATER } else { FIRST }).await;
    }
}
