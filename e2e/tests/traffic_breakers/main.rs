//! Circuit breakers: full backends refuse exactly what is too much, failing endpoints are taken out, and
//! both come back.

mod app;
mod client;
mod health;
mod limits;
mod outliers;

use std::time::Duration;

use tokio::time::timeout;

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn limits_trip_at_their_number_and_recover() -> anyhow::Result<()> {
    timeout(Duration::from_mins(2), limits::run()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn outliers_are_taken_out_and_come_back() -> anyhow::Result<()> {
    timeout(Duration::from_mins(2), outliers::run()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn endpoints_that_fail_their_checks_get_nothing() -> anyhow::Result<()> {
    timeout(Duration::from_mins(2), health::run()).await?
}
