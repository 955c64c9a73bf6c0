//! `meshctl proxy-status`: what every proxy runs.

use crate::render::{Output, show};
use crate::source::admin::Admin;
use crate::source::state::StateArg;

/// Prints each connected proxy with its state: SYNCED, STALE or NACKED.
pub(crate) async fn run(output: Output, state: &StateArg) -> anyhow::Result<u8> {
    let proxies = Admin::of(&state.folder()?).get("/proxies").await?;
    show(output, &proxies, || super::get::rows(&proxies).to_text())?;
    Ok(0)
}
