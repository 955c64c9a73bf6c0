//! `meshctl demo`: brings the mesh up, says what is there, and ends it.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::command::signal;
use crate::demo::check;
use crate::demo::mesh::Mesh;
use crate::render::{Format, Output, Rows, note, print, show};
use crate::source::state::StateArg;

/// Time allowed from start to SYNCED.
const START: Duration = Duration::from_secs(5);

/// Arguments of `meshctl demo`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct DemoArgs {
    /// Prove what the mesh promises, print the list of checks, and end: 0 if all hold, else 1.
    #[arg(long)]
    pub(super) check: bool,
    /// With --check: only checks whose name contains this; repeatable.
    #[arg(
        long = "only",
        value_name = "TEXT",
        requires = "check",
        conflicts_with = "kubernetes"
    )]
    only: Vec<String>,
    /// In the cluster of the kubeconfig, which has a mesh: apps as pods of a namespace `demo`.
    #[arg(long)]
    pub(crate) kubernetes: bool,
    /// With --kubernetes: leave the namespace when it ends.
    #[arg(long, requires = "kubernetes")]
    pub(super) keep: bool,
    /// With --kubernetes: remove what an earlier demo left, and end.
    #[arg(long, requires = "kubernetes", conflicts_with_all = ["check", "keep"])]
    pub(super) delete: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Up {
    page: String,
    ready_in_ms: u128,
    state: String,
    services: Value,
    proxies: Value,
}

/// Runs the demo until Ctrl-C, or its checks.
pub(crate) async fn run(arguments: DemoArgs, state: &StateArg) -> anyhow::Result<u8> {
    let started = std::time::Instant::now();
    let state = state.folder()?;
    let mut mesh = Mesh::start(state).await?;
    let result = tokio::select! {
        result = Box::pin(act(&mut mesh, &arguments, started)) => result,
        _ = signal::stop(), if arguments.check => Ok(1),
    };
    if !arguments.check {
        note("ending: every workload drains and leaves");
    }
    let stopped = mesh.stop().await;
    let code = result?;
    stopped?;
    Ok(code)
}

async fn act(
    mesh: &mut Mesh,
    arguments: &DemoArgs,
    started: std::time::Instant,
) -> anyhow::Result<u8> {
    mesh.wait_synced(START).await?;
    if arguments.check {
        return check::run(mesh, &arguments.only, arguments.output).await;
    }
    let up = Up {
        page: format!("http://{}/", mesh.outbound("shop")?),
        ready_in_ms: started.elapsed().as_millis(),
        state: mesh.state.root().display().to_string(),
        services: mesh.admin().get("/services").await?,
        proxies: mesh.admin().get("/proxies").await?,
    };
    match arguments.output.format {
        Format::Table => print(&text(&up))?,
        _ => show(arguments.output, &up, String::new)?,
    }
    signal::stop().await;
    Ok(0)
}

fn text(up: &Up) -> String {
    let mut services = Rows::new(&["SERVICE", "PORT", "ENDPOINTS"]);
    for service in up.services.as_array().into_iter().flatten() {
        for port in service["ports"].as_array().into_iter().flatten() {
            let endpoints = port["endpoints"].as_array().map_or(0, Vec::len);
            let name = service["name"].as_str().unwrap_or_default();
            services.push([
                name.to_owned(),
                port["port"].to_string(),
                endpoints.to_string(),
            ]);
        }
    }
    let mut proxies = Rows::new(&["WORKLOAD", "STATE", "IDENTITY"]);
    for proxy in up.proxies.as_array().into_iter().flatten() {
        proxies.push(
            ["workload", "state", "identity"].map(|field| proxy[field].as_str().unwrap_or("-")),
        );
    }
    format!(
        "{}\n{}\nThe mesh is up after {} ms. Its page:\n\n    {}\n\n\
         Look at it from another terminal with\n    export MESH_STATE={}\n    \
         meshctl proxy-status\n    meshctl explain http://lab/echo --from demo/visitor -H 'x-user: beta'\n\
         Ctrl-C ends it.\n",
        services.to_text(),
        proxies.to_text(),
        up.ready_in_ms,
        up.page,
        up.state,
    )
}
