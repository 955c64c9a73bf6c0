//! The demo's apps: plain servers on 127.0.0.1 that know nothing of the mesh.

mod catalog;
mod content;
mod feed;
pub(crate) mod ledger;
mod pricing;
mod serve;
mod shop;
mod stock;
mod tee;

use std::net::{Ipv4Addr, SocketAddr};

use clap::{Args, Subcommand};

/// `meshctl demo-app`.
#[derive(Debug, Args)]
pub(crate) struct DemoApp {
    /// Do not end with standard input: a container has none.
    #[arg(long)]
    stay: bool,
    #[command(subcommand)]
    app: App,
}

#[derive(Debug, Subcommand)]
enum App {
    /// Items, and endpoints that exercise every shape of HTTP/1.1.
    Catalog(catalog::Settings),
    /// How many of an item there are.
    Stock(stock::Settings),
    /// A page with live counts, fed by calls to the catalog.
    Shop(shop::Settings),
    /// Prices by gRPC: a call of each kind.
    Pricing(pricing::Settings),
    /// A WebSocket that sends every message back.
    Feed(feed::Settings),
    /// Sums by a line protocol over TCP in which the server speaks first.
    Ledger(ledger::Settings),
    /// Nothing: holds a workload open until its standard input closes.
    Idle,
}

/// Where an app listens.
#[derive(Clone, Copy, Debug, Args)]
struct Listen {
    /// Its address.
    #[arg(long, env = "MESH_DEMO_HOST", default_value_t = Ipv4Addr::LOCALHOST)]
    host: Ipv4Addr,
    /// Its port.
    #[arg(long, env = "PORT")]
    port: u16,
}

/// Runs the app until its standard input closes or it is told to stop.
pub(crate) async fn run(arguments: DemoApp) -> anyhow::Result<u8> {
    let DemoApp { stay, app } = arguments;
    let serving = async {
        match app {
            App::Catalog(settings) => catalog::run(settings).await,
            App::Stock(settings) => stock::run(settings).await,
            App::Shop(settings) => shop::run(settings).await,
            App::Pricing(settings) => pricing::run(settings).await,
            App::Feed(settings) => feed::run(settings).await,
            App::Ledger(settings) => ledger::run(settings).await,
            App::Idle => std::future::pending().await,
        }
    };
    tokio::select! {
        result = serving => result?,
        () = crate::command::signal::parent_gone(), if !stay => {}
        _ = crate::command::signal::stop() => {}
    }
    Ok(0)
}

impl Listen {
    fn address(self) -> SocketAddr {
        (self.host, self.port).into()
    }
}
