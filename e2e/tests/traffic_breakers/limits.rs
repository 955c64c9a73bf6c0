//! Limits of connections, requests and those that wait, counted across a proxy's workers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::figure::record;
use e2e::mesh::{Mesh, Workload, free_address, service};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::app::App;
use super::client::{Answer, Http2, get};

/// Times that each limit is reached and left again.
const ROUNDS: usize = 10;

fn policy(service: &str, limits: &str) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {service}, namespace: e2e }}\n\
         spec: {{ targetRefs: [{{ kind: Service, name: {service} }}], limits: {{ {limits} }} }}\n"
    )
}

/// Starts a mesh with a service per limit, and judges each.
pub(crate) async fn run() -> anyhow::Result<()> {
    let cases = [
        ("requests", "http", "requests: 5, pendingRequests: 0"),
        (
            "streams",
            "kubernetes.io/h2c",
            "requests: 5, pendingRequests: 0",
        ),
        ("connections", "http", "connections: 5, pendingRequests: 0"),
        (
            "queue",
            "http",
            "requests: 2, pendingRequests: 2, queueTimeout: 1s",
        ),
    ];
    let manifests = cases.map(|(name, protocol, limits)| {
        format!("{}{}", service(name, 80, protocol), policy(name, limits))
    });
    let mut mesh = Mesh::start(&manifests.concat()).await?;
    let mut caller = Workload::new("caller");
    let mut places = Vec::new();
    for (name, ..) in cases {
        let (app, listen) = (App::start().await?, free_address()?);
        mesh.run(&Workload::new(name).port(app.port))?;
        caller = caller.upstream(name, 80, listen);
        places.push((app, listen));
    }
    mesh.run(&caller)?;
    mesh.wait_synced().await?;
    let [requests, streams, connections, queue] = &places[..] else {
        return Ok(());
    };
    trips(requests, "request-limit").await?;
    trips_on_one_connection(streams).await?;
    trips(connections, "connection-limit").await?;
    waits(queue).await?;
    let metrics = mesh.metrics("caller").await?;
    for expected in [
        "mesh_limit_refused_total{backend=\"e2e/requests:80\",reason=\"request-limit\"} 10",
        "mesh_limit_refused_total{backend=\"e2e/connections:80\",reason=\"connection-limit\"} 10",
        "mesh_limit_in_use{backend=\"e2e/requests:80\",limit=\"requests\"} 0",
        "mesh_limit_in_use{backend=\"e2e/queue:80\",limit=\"pending\"} 0",
    ] {
        ensure!(metrics.contains(expected), "{expected} is not in {metrics}");
    }
    Ok(())
}

/// Five at a time pass, the sixth is refused; and again.
async fn trips((app, address): &(App, SocketAddr), reason: &str) -> anyhow::Result<()> {
    let mut refused = Vec::new();
    for round in 0..ROUNDS {
        // Connections that say nothing move the others to another worker.
        let mut silent = Vec::new();
        for _ in 0..round % 3 {
            silent.push(TcpStream::connect(address).await?);
        }
        let mut held = JoinSet::new();
        for _ in 0..5 {
            held.spawn(get(*address, "/hold"));
        }
        app.holds(5).await?;
        refused.push(get(*address, "/").await?);
        app.release(5);
        while let Some(answer) = held.join_next().await {
            ensure!(answer?? == Answer::of_app(200), "round {round}");
        }
    }
    let expected = Answer::refused(reason);
    ensure!(
        refused.iter().all(|answer| *answer == expected),
        "{refused:?}"
    );
    let reached = app.requests();
    ensure!(reached == 5 * ROUNDS as u64, "{reached} reached the app");
    record(
        reason,
        format!(
            "{reached} of {} passed, 5 at a time; {ROUNDS} of {ROUNDS} beyond refused",
            5 * ROUNDS
        ),
    );
    Ok(())
}

/// The same with all requests on one HTTP/2 connection.
async fn trips_on_one_connection((app, address): &(App, SocketAddr)) -> anyhow::Result<()> {
    let client = Http2::open(*address).await?;
    for round in 0..ROUNDS {
        let mut held = JoinSet::new();
        for _ in 0..5 {
            held.spawn(client.get("/hold"));
        }
        app.holds(5).await?;
        let refused = client.get("/").await?;
        ensure!(refused == Answer::refused("request-limit"), "{refused:?}");
        app.release(5);
        while let Some(answer) = held.join_next().await {
            ensure!(answer?? == Answer::of_app(200), "round {round}");
        }
    }
    record(
        "request-limit-http2",
        format!("{ROUNDS} of {ROUNDS} sixth requests refused"),
    );
    Ok(())
}

/// Two pass and two wait; the fifth is refused at once, those who wait in time.
async fn waits((app, address): &(App, SocketAddr)) -> anyhow::Result<()> {
    let mut held = JoinSet::new();
    for _ in 0..2 {
        held.spawn(get(*address, "/hold"));
    }
    app.holds(2).await?;
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        waiting.spawn(get(*address, "/"));
    }
    let mut answers = Vec::new();
    let mut times = Vec::new();
    while let Some(answer) = waiting.join_next().await {
        answers.push(answer??);
        times.push(begun.elapsed());
    }
    let expected = ["pending-limit", "queue-timeout", "queue-timeout"].map(Answer::refused);
    ensure!(answers == expected, "{answers:?}");
    let second = Duration::from_secs(1);
    ensure!(times[0] < second && times[1] >= second, "{times:?}");
    ensure!(app.requests() == 2, "what waited too long reached the app");
    // Who waits gets the place that comes back.
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        waiting.spawn(get(*address, "/"));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    app.release(1);
    while let Some(answer) = waiting.join_next().await {
        let answer = answer??;
        ensure!(answer == Answer::of_app(200), "{answer:?}");
    }
    app.release(1);
    while let Some(answer) = held.join_next().await {
        ensure!(answer?? == Answer::of_app(200), "a held one failed");
    }
    record(
        "queue",
        format!(
            "the 5th of 5 refused at once, 2 of 2 that waited after {:.0} ms",
            times[1].as_secs_f64() * 1e3
        ),
    );
    Ok(())
}
