//! `catalog`: items, and endpoints that exercise every shape of HTTP/1.1.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Limited};
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serde_json::{Value, json};

use super::Listen;
use super::content::{Content, Reply, json, reply, set};
use super::serve::{App, Call, serve};
use crate::demo::digest::sha256;
use crate::source::http::{Connection, get};

/// Largest request body read, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Request numbers remembered to find duplicates.
const MAX_NUMBERS: usize = 1_000_000;

/// `meshctl demo-app catalog`.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    listen: Listen,
    /// Version it says it is.
    #[arg(long, default_value = "v1")]
    version: String,
    /// Number of the instance.
    #[arg(long, default_value_t = 0)]
    instance: u32,
    /// Where `/chain` reaches the stock.
    #[arg(long)]
    stock: Option<SocketAddr>,
}

struct Catalog {
    settings: Settings,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: u64,
    numbers: HashMap<u64, u32>,
}

/// Serves the app.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let address = settings.listen.address();
    let seen = Mutex::default();
    serve(address, Arc::new(Catalog { settings, seen })).await
}

impl App for Catalog {
    async fn answer(&self, call: Call) -> Reply {
        let number = call.header("x-request-number").map(str::to_owned);
        self.count(number.as_deref());
        let mut reply = self.route(call, number.as_deref()).await;
        set(&mut reply, "x-version", &self.settings.version);
        set(&mut reply, "x-instance", &self.instance());
        if let Some(number) = number {
            set(&mut reply, "x-request-number", &number);
        }
        reply
    }
}

impl Catalog {
    async fn route(&self, call: Call, number: Option<&str>) -> Reply {
        let path = call.path().to_owned();
        let mut segments = path.split('/').skip(1);
        match (segments.next().unwrap_or_default(), segments.next()) {
            ("items", None) => json(
                200,
                &json!({ "items": (0..10).collect::<Vec<u64>>(), "version": self.settings.version }),
            ),
            ("items", Some(item)) => self.item(item, number),
            ("echo", _) => echo(call).await,
            ("chunked", None) => chunked(call.number("n", 8, 10_000)),
            ("bytes", None) => bytes(call.number("n", 1024, MAX_BODY as u64)),
            ("slow", None) => {
                let wait = call.number("ms", 100, 60_000);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                json(200, &json!({ "waitedMs": wait }))
            }
            ("status", Some(code)) => status(code),
            ("stats", None) => self.stats(),
            ("chain", _) => self.chain(number).await,
            _ => json(404, &json!({ "error": "no such page in the catalog" })),
        }
    }

    fn item(&self, item: &str, number: Option<&str>) -> Reply {
        let Ok(item) = item.parse::<u64>() else {
            return json(404, &json!({ "error": "items are numbered" }));
        };
        json(
            200,
            &json!({
                "item": item,
                "number": number,
                "version": self.settings.version,
                "instance": self.instance(),
            }),
        )
    }

    async fn chain(&self, number: Option<&str>) -> Reply {
        match self.ask_stock(number.unwrap_or("0")).await {
            Ok(stock) => json(200, &json!({ "stock": stock, "number": number })),
            Err(error) => json(502, &json!({ "error": format!("{error:#}") })),
        }
    }

    async fn ask_stock(&self, number: &str) -> anyhow::Result<Value> {
        let Some(address) = self.settings.stock else {
            anyhow::bail!("this instance was started without --stock");
        };
        let mut connection = Connection::open(address).await?;
        let answer = connection
            .exchange(get(&format!("/stock/{number}"), "stock")?)
            .await?;
        ensure!(answer.status == 200, "the stock answers {}", answer.status);
        answer.json()
    }

    fn count(&self, number: Option<&str>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.requests += 1;
        if seen.numbers.len() < MAX_NUMBERS
            && let Some(number) = number.and_then(|number| number.parse().ok())
        {
            *seen.numbers.entry(number).or_default() += 1;
        }
    }

    fn stats(&self) -> Reply {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let duplicates = seen.numbers.values().filter(|&&times| times > 1).count();
        let stats = json!({
            "requests": seen.requests,
            "numbered": seen.numbers.len(),
            "duplicates": duplicates,
        });
        json(200, &stats)
    }

    fn instance(&self) -> String {
        format!("{}-{}", self.settings.version, self.settings.instance)
    }
}

/// Answers with the head exactly as received, and what the body was.
async fn echo(call: Call) -> Reply {
    let head = call.head();
    let body = match Limited::new(call.request.into_body(), MAX_BODY)
        .collect()
        .await
    {
        Ok(body) => body,
        Err(error) => return json(400, &json!({ "error": error.to_string() })),
    };
    let trailers = body.trailers().map(pairs).unwrap_or_default();
    let body = body.to_bytes();
    let mut lines = head.split("\r\n");
    let mut start = lines.next().unwrap_or_default().splitn(3, ' ');
    let headers: Vec<[&str; 2]> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| [name, value.trim_matches([' ', '\t'])])
        .collect();
    json(
        200,
        &json!({
            "method": start.next(),
            "target": start.next(),
            "version": start.next(),
            "headers": headers,
            "body": { "length": body.len(), "sha256": sha256(&body) },
            "trailers": trailers,
        }),
    )
}

fn pairs(headers: &HeaderMap) -> Vec<[String; 2]> {
    headers
        .iter()
        .map(|(name, value)| {
            [
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            ]
        })
        .collect()
}

fn chunked(count: u64) -> Reply {
    let chunks = (0..count).map(|index| Bytes::from(format!("chunk {index}\n")));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-chunks", HeaderValue::from(count));
    let mut reply = reply(200, "text/plain", Content::chunks(chunks, trailers));
    set(&mut reply, "trailer", "x-chunks");
    reply
}

fn bytes(count: u64) -> Reply {
    let body: Vec<u8> = (0..count)
        .map(|index| b'a' + u8::try_from(index % 26).unwrap_or(0))
        .collect();
    reply(200, "application/octet-stream", Content::whole(body))
}

fn status(code: &str) -> Reply {
    match code.parse::<u16>() {
        Ok(code @ (204 | 205 | 304)) => reply(code, "text/plain", Content::whole(Bytes::new())),
        Ok(code @ 200..=599) => json(code, &json!({ "status": code })),
        _ => json(400, &json!({ "error": "a status from 200 to 599" })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn echo_shows_the_head_as_sent_and_stats_find_duplicates() {
        let port = crate::source::address::free_port(Ipv4Addr::LOCALHOST.into()).unwrap();
        let settings = Settings {
            listen: Listen {
                host: Ipv4Addr::LOCALHOST,
                port,
            },
            version: "v2".into(),
            instance: 3,
            stock: None,
        };
        let address = settings.listen.address();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(run(settings));
        let mut connection = loop {
            match Connection::open(address).await {
                Ok(connection) => break connection,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let mut request = crate::source::http::request("PUT", "/echo?a=%20", "x", "body").unwrap();
        request.headers_mut().insert("x-request-number", 7.into());
        for _ in 0..2 {
            let answer = connection.exchange(request.clone()).await.unwrap();
            let echo = answer.json().unwrap();
            assert_eq!(
                (&echo["method"], &echo["target"]),
                (&json!("PUT"), &json!("/echo?a=%20"))
            );
            assert_eq!(echo["headers"][0], json!(["host", "x"]));
            assert_eq!(echo["body"]["length"], 4);
            assert_eq!(answer.header("x-instance"), "v2-3");
        }
        let stats = connection
            .exchange(get("/stats", "x").unwrap())
            .await
            .unwrap();
        assert_eq!(stats.json().unwrap()["duplicates"], 1);
    }
}
