//! Databases and their own clients through two sidecars, as opaque bytes on a declared port.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::figure::record;
use e2e::mesh::{Mesh, free_port};
use e2e::process::{Process, output, wait_until};
use e2e::{need, tool};

const LIMIT: Duration = Duration::from_mins(1);
/// Rows, keys and messages per case.
const COUNT: usize = 1000;

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn postgresql_through_two_sidecars() -> anyhow::Result<()> {
    let case = "postgresql";
    let programs = need!(case, tool::postgresql());
    let psql = need!(case, tool::debian("psql", "postgresql-client"));
    let folder = tempfile::Builder::new().prefix("mesh-pg-").tempdir()?;
    let user = owner(folder.path(), "postgres").await?;
    let data = folder.path().join("data");
    let mut command = Command::new(programs.join("initdb"));
    command
        .args(["--auth=trust", "--username=mesh", "--no-sync", "-D"])
        .arg(&data)
        .current_dir(folder.path());
    output(as_user(&mut command, user), LIMIT).await?.good()?;
    let port = free_port()?;
    let mut command = Command::new(programs.join("postgres"));
    command
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k"])
        .arg(folder.path())
        .args(["-p", &port.to_string(), "-D"])
        .arg(&data)
        .current_dir(folder.path());
    let log = folder.path().join("server.log");
    let mut server = Process::start(case, as_user(&mut command, user), &log)?;
    accepts(&mut server, port).await?;
    let (_mesh, address) = Mesh::pair("postgres", port).await?;
    let ask = |sql: String| {
        let mut command = Command::new(&psql);
        command
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "mesh",
                "-d",
                "postgres",
                "-v",
                "ON_ERROR_STOP=1",
            ])
            .args(["-p", &address.port().to_string(), "-qAtc", &sql]);
        async move { output(&mut command, LIMIT).await?.good() }
    };
    ask("create table item(id int primary key, name text)".into()).await?;
    ask(format!(
        "insert into item select n, repeat('x', n) from generate_series(1, {COUNT}) n"
    ))
    .await?;
    let sum = ask("select count(*) || ' ' || sum(length(name)) from item".into()).await?;
    ensure!(sum.trim() == "1000 500500", "{sum}");
    let rows = ask("select name from item order by id".into()).await?;
    ensure!(
        rows.lines().count() == COUNT,
        "{} rows",
        rows.lines().count()
    );
    let bytes: usize = rows.lines().map(str::len).sum();
    ensure!(bytes == 500_500, "{bytes} bytes");
    record(
        case,
        format!("psql: {COUNT} of {COUNT} rows, {bytes} bytes back"),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn redis_through_two_sidecars() -> anyhow::Result<()> {
    let case = "redis";
    let server = need!(case, tool::debian("redis-server", "redis-server"));
    let client = need!(case, tool::debian("redis-cli", "redis-tools"));
    let bench = need!(case, tool::debian("redis-benchmark", "redis-tools"));
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut command = Command::new(server);
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--port",
            &port.to_string(),
        ])
        .current_dir(folder.path());
    let mut server = Process::start(case, &mut command, &folder.path().join("server.log"))?;
    accepts(&mut server, port).await?;
    let (_mesh, address) = Mesh::pair("redis", port).await?;
    let ask = |words: &[&str]| {
        let mut command = Command::new(&client);
        command
            .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
            .args(words);
        async move { output(&mut command, LIMIT).await?.good() }
    };
    ensure!(ask(&["set", "k", "a value"]).await?.trim() == "OK");
    ensure!(ask(&["get", "k"]).await?.trim() == "a value");
    let script = "for i = 1, 1000 do redis.call('rpush', 'l', string.rep('x', i)) end return redis.call('llen', 'l')";
    ensure!(ask(&["eval", script, "0"]).await?.trim() == "1000");
    let list = ask(&["lrange", "l", "0", "-1"]).await?;
    ensure!(list.lines().count() == COUNT);
    let mut command = Command::new(bench);
    command
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
        .args([
            "-t",
            "set,get,incr,lrange_100",
            "-n",
            "5000",
            "-c",
            "20",
            "-P",
            "4",
            "-q",
        ]);
    let said = output(&mut command, LIMIT).await?.good()?;
    let finished = said.matches("requests per second").count();
    ensure!(finished >= 4 && !said.contains("rror"), "{said}");
    record(
        case,
        format!(
            "redis-cli: {COUNT} of {COUNT} list items; redis-benchmark: {finished} tests of 5,000 without an error"
        ),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn mariadb_through_two_sidecars() -> anyhow::Result<()> {
    let case = "mariadb";
    let server = need!(case, tool::debian("mariadbd", "mariadb-server"));
    let client = need!(case, tool::debian("mariadb", "mariadb-client"));
    let install = need!(case, tool::debian("mariadb-install-db", "mariadb-server"));
    let folder = tempfile::Builder::new().prefix("mesh-db-").tempdir()?;
    let user = owner(folder.path(), "mysql").await?;
    let data = folder.path().join("data");
    let mut command = Command::new(install);
    command
        .args(["--no-defaults", "--auth-root-authentication-method=normal"])
        .arg(format!("--datadir={}", data.display()))
        .current_dir(folder.path());
    output(as_user(&mut command, user), LIMIT).await?.good()?;
    let port = free_port()?;
    let mut command = Command::new(server);
    command
        .args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
        ])
        .arg(format!("--port={port}"))
        .arg(format!("--datadir={}", data.display()))
        .arg(format!("--socket={}", folder.path().join("s").display()))
        .current_dir(folder.path());
    let log = folder.path().join("server.log");
    let mut server = Process::start(case, as_user(&mut command, user), &log)?;
    accepts(&mut server, port).await?;
    let (_mesh, address) = Mesh::pair("mysql", port).await?;
    let ask = |sql: String| {
        let mut command = Command::new(&client);
        command
            .args([
                "--no-defaults",
                "-h",
                "127.0.0.1",
                "-u",
                "root",
                "--batch",
                "-N",
            ])
            .args(["-P", &address.port().to_string(), "-e", &sql]);
        async move { output(&mut command, LIMIT).await?.good() }
    };
    ask("create database d; create table d.item(id int primary key, name text)".into()).await?;
    ask(format!(
        "insert into d.item select seq, repeat('x', seq) from d.seq_1_to_{COUNT}"
    ))
    .await?;
    let rows = ask("select name from d.item order by id".into()).await?;
    let bytes: usize = rows.lines().map(str::len).sum();
    ensure!(
        rows.lines().count() == COUNT && bytes == 500_500,
        "{bytes} bytes"
    );
    record(
        case,
        format!("mariadb: {COUNT} of {COUNT} rows, {bytes} bytes back"),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn nats_through_two_sidecars() -> anyhow::Result<()> {
    let case = "nats";
    let server = need!(
        case,
        tool::go("github.com/nats-io/nats-server/v2", "v2.12.2")
    );
    let packages = need!(case, tool::python("nats-py==2.11.0"));
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let mut command = Command::new(server);
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
    let mut server = Process::start(case, &mut command, &folder.path().join("server.log"))?;
    accepts(&mut server, port).await?;
    let (_mesh, address) = Mesh::pair("tcp", port).await?;
    let said = script(&packages, NATS, &[&address.to_string(), &COUNT.to_string()]).await?;
    ensure!(said.trim() == format!("{COUNT} {COUNT}"), "{said}");
    record(
        case,
        format!(
            "nats-py: {COUNT} of {COUNT} messages received, {COUNT} of {COUNT} requests answered"
        ),
    );
    Ok(())
}

/// Subscribes, publishes and asks; prints how many messages and answers came.
const NATS: &str = r#"
import asyncio, sys, nats
async def main():
    address, count = sys.argv[1], int(sys.argv[2])
    client = await nats.connect("nats://" + address, allow_reconnect=False, connect_timeout=10)
    got = []
    done = asyncio.Event()
    async def note(message):
        got.append(message.data)
        if len(got) == count: done.set()
    async def reply(message):
        await message.respond(b"re:" + message.data)
    await client.subscribe("numbers", cb=note)
    await client.subscribe("questions", cb=reply)
    for number in range(count):
        await client.publish("numbers", b"%d" % number + b"x" * number)
    await client.flush(timeout=20)
    await asyncio.wait_for(done.wait(), 20)
    assert [int(data.split(b"x")[0]) for data in got] == list(range(count))
    answers = 0
    for number in range(count):
        answer = await client.request("questions", b"%d" % number, timeout=10)
        answers += answer.data == b"re:%d" % number
    await client.close()
    print(len(got), answers)
asyncio.run(main())
"#;

async fn script(packages: &Path, text: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("python3");
    command
        .args(["-c", text])
        .args(arguments)
        .env("PYTHONPATH", packages);
    output(&mut command, LIMIT).await?.good()
}

/// Waits until the server takes connections.
async fn accepts(server: &mut Process, port: u16) -> anyhow::Result<()> {
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    wait_until("the server listens", LIMIT, || {
        let alive = server.check_alive();
        async move {
            alive?;
            Ok(tokio::net::TcpStream::connect(address).await.is_ok())
        }
    })
    .await
}

/// The user that a server must run as, who then owns `folder`: some refuse root.
async fn owner(folder: &Path, name: &str) -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let ask = |what: &'static str| async move {
        let said = output(Command::new("id").args([what, name]), LIMIT).await?;
        let number = said.good()?.trim().parse::<u32>();
        number.with_context(|| format!("the package made no user {name}"))
    };
    let (user, group) = (ask("-u").await?, ask("-g").await?);
    std::os::unix::fs::chown(folder, Some(user), Some(group))?;
    Ok(Some((user, group)))
}

fn as_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}
