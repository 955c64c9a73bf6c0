//! HTTP programs that people use, through two sidecars: each with its own client, counted.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::backend::http;
use e2e::demo::meshctl;
use e2e::figure::record;
use e2e::mesh::{Mesh, free_port};
use e2e::process::{Process, output};
use e2e::{need, tool};

const LIMIT: Duration = Duration::from_mins(2);
const H2C: &str = "kubernetes.io/h2c";

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn curl_http1_and_http2() -> anyhow::Result<()> {
    let case = "curl";
    let curl = need!(case, tool::debian("curl", "curl"));
    let app = http().await?;
    let mut lines = Vec::new();
    for (protocol, option, version) in [
        ("http", "--http1.1", "1.1"),
        ("http", "--http1.0", "1.1"),
        (H2C, "--http2-prior-knowledge", "2"),
    ] {
        let (mesh, address) = Mesh::pair(protocol, app.port).await?;
        let ask = |arguments: &[&str], path: &str| {
            let mut command = Command::new(&curl);
            command
                .args(["-sS", "--fail", option, "--max-time", "60"])
                .args(arguments)
                .arg(format!("http://{address}{path}"));
            async move { output(&mut command, LIMIT).await?.good() }
        };
        let said = ask(
            &["-w", " %{http_version} %{http_code}", "-d", "12345"],
            "/post",
        )
        .await?;
        ensure!(
            said.trim() == format!("12345 {version} 200"),
            "{option}: {said}"
        );
        let said = ask(
            &["-o", "/dev/null", "-w", "%{size_download}"],
            "/bytes/50000000",
        )
        .await?;
        ensure!(said.trim() == "50000000", "{option}: {said}");
        // One process, 200 requests one after another on a kept connection.
        let said = ask(&["-w", "%{http_code}\n", "-o", "/dev/null"], "/[1-200]").await?;
        let good = said.lines().filter(|line| *line == "200").count();
        ensure!(good == 200, "{option}: {good} of 200");
        ensure!(
            mesh.exchanges("caller").await? >= 202,
            "{option}: passed unread"
        );
        lines.push(format!("{option} 202 of 202"));
    }
    record(case, lines.join(", "));
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn h2load_and_nghttp() -> anyhow::Result<()> {
    let case = "h2load";
    let h2load = need!(case, tool::debian("h2load", "nghttp2-client"));
    let nghttp = need!(case, tool::debian("nghttp", "nghttp2-client"));
    let app = http().await?;
    let (mesh, address) = Mesh::pair(H2C, app.port).await?;
    let mut command = Command::new(h2load);
    command.args(["-n", "20000", "-c", "10", "-m", "50", "--warm-up-time=0"]);
    command.arg(format!("http://{address}/1"));
    let said = output(&mut command, LIMIT).await?.good()?;
    let line = said.lines().find(|line| line.starts_with("requests:"));
    let line = line.context("no sum")?;
    ensure!(
        line.contains("20000 succeeded, 0 failed, 0 errored"),
        "{line}"
    );
    let mut command = Command::new(nghttp);
    command.args(["-nv", &format!("http://{address}/bytes/1000000")]);
    let said = output(&mut command, LIMIT).await?.good()?;
    ensure!(said.contains(":status: 200"), "{said}");
    let bytes: usize = said
        .lines()
        .filter(|line| line.contains("recv DATA frame"))
        .filter_map(|line| {
            line.split("length=")
                .nth(1)?
                .split(',')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    ensure!(bytes == 1_000_000, "{bytes} bytes");
    ensure!(mesh.exchanges("caller").await? >= 20_001, "passed unread");
    record(case, format!("{line}; nghttp: {bytes} of 1000000 bytes"));
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn wrk_keeps_connections() -> anyhow::Result<()> {
    let case = "wrk";
    let wrk = need!(case, tool::debian("wrk", "wrk"));
    let app = http().await?;
    let (mesh, address) = Mesh::pair("http", app.port).await?;
    let mut command = Command::new(wrk);
    command.args([
        "-t",
        "2",
        "-c",
        "32",
        "-d",
        "5s",
        &format!("http://{address}/1"),
    ]);
    let said = output(&mut command, LIMIT).await?.good()?;
    ensure!(
        !said.contains("Socket errors") && !said.contains("Non-2xx"),
        "{said}"
    );
    let line = said.lines().find(|line| line.contains("requests in"));
    let line = line.context("no sum")?.trim();
    let count: u64 = line.split(' ').next().context("no count")?.parse()?;
    ensure!(
        count > 1000 && mesh.exchanges("caller").await? >= count,
        "{line}"
    );
    record(case, format!("{line}, no error"));
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn grpcurl_calls_of_each_kind() -> anyhow::Result<()> {
    let case = "grpcurl";
    let module = "github.com/fullstorydev/grpcurl/cmd/grpcurl";
    let grpcurl = need!(case, tool::go(module, "v1.9.4"));
    let (_folder, _app, port) = demo_app("pricing").await?;
    let (mesh, address) = Mesh::pair("grpc", port).await?;
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mesh-ctl/proto");
    let ask = |method: &str, data: String| {
        let mut command = Command::new(&grpcurl);
        command
            .args([
                "-plaintext",
                "-max-time",
                "30",
                "-proto",
                "pricing.proto",
                "-import-path",
            ])
            .arg(&protos)
            .args(["-d", &data, &address.to_string()])
            .arg(format!("mesh.demo.v1.Pricing/{method}"));
        async move { output(&mut command, LIMIT).await?.good() }
    };
    let questions: Vec<String> = (0..50)
        .map(|item| format!("{{\"item\": {item}}}"))
        .collect();
    let questions = questions.join("\n");
    let count = |said: &str| said.matches("\"cents\"").count();
    let found = [
        count(&ask("Quote", "{\"item\": 7}".into()).await?),
        count(&ask("Watch", "{\"item\": 7, \"count\": 50}".into()).await?),
        count(&ask("Total", questions.clone()).await?),
        count(&ask("Haggle", questions).await?),
    ];
    ensure!(found == [1, 50, 1, 50], "{found:?} messages");
    ensure!(mesh.exchanges("caller").await? >= 4, "passed unread");
    record(case, "4 of 4 kinds, 102 of 102 messages");
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn websockets_of_another_library() -> anyhow::Result<()> {
    let case = "websockets";
    let packages = need!(case, tool::python("websockets==17.4"));
    let (_folder, _app, port) = demo_app("feed").await?;
    let (mesh, address) = Mesh::pair("http", port).await?;
    let mut command = Command::new("python3");
    command
        .args(["-c", WEBSOCKETS, &format!("ws://{address}/")])
        .env("PYTHONPATH", packages);
    let said = output(&mut command, LIMIT).await?.good()?;
    ensure!(said.trim() == "1000 1000", "{said}");
    ensure!(mesh.exchanges("caller").await? >= 1, "passed unread");
    record(
        case,
        "1000 of 1000 frames back on one connection, 1000 of 1000 on 100 at once",
    );
    Ok(())
}

/// Sends 1,000 frames on one connection, then 10 on each of 100; prints how many came back.
const WEBSOCKETS: &str = r#"
import asyncio, sys, websockets
async def echo(count, size):
    good = 0
    async with websockets.connect(sys.argv[1], max_size=None, compression=None) as socket:
        assert await socket.recv() == "feed ready"
        for number in range(count):
            frame = "x" * (number * size) if number % 2 else b"y" * (number * size)
            await socket.send(frame)
            good += await socket.recv() == frame
        await asyncio.wait_for(await socket.ping(), 10)
    return good
async def main():
    first = await echo(1000, 100)
    rest = await asyncio.gather(*(echo(10, 1000) for _ in range(100)))
    print(first, sum(rest))
asyncio.run(main())
"#;

/// An app of the demo on a port of its own.
async fn demo_app(name: &str) -> anyhow::Result<(tempfile::TempDir, Process, u16)> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut command = Command::new(meshctl()?);
    command.args(["demo-app", name, "--port", &port.to_string()]);
    let mut app = Process::start(name, &mut command, &folder.path().join("log"))?;
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        app.check_alive()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok((folder, app, port))
}
