//! `stock`: how many of an item there are.

use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::Listen;
use super::content::{Reply, json};
use super::serve::{App, Call, serve};

/// `meshctl demo-app stock`.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    listen: Listen,
}

struct Stock;

/// Serves the app.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    serve(settings.listen.address(), Arc::new(Stock)).await
}

impl App for Stock {
    async fn answer(&self, call: Call) -> Reply {
        let item = call
            .path()
            .strip_prefix("/stock/")
            .and_then(|text| text.parse::<u64>().ok());
        let mut reply = match item {
            Some(item) => json(200, &json!({ "item": item, "stock": item % 17 })),
            None => json(
                404,
                &json!({ "error": "the stock answers GET /stock/{number}" }),
            ),
        };
        if let Some(number) = call.header("x-request-number") {
            super::content::set(&mut reply, "x-request-number", number);
        }
        reply
    }
}
