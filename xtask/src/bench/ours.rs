//! Our own pair: a control plane, the app's sidecar and a caller's.
//!
//! `ours-grown` is the same in a large mesh, `ours-one` with one worker where others have two.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::grown;
use crate::bench::peer::{APP, Lab, Peer, Ports, Start, local, spawn};
use crate::footprint::mesh::token;

/// One Service: HTTP, twice opaque bytes, HTTP/2.
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: app, namespace: demo }\n\
    spec: { selector: { app: app }, ports: [\
    { name: http, port: 80, appProtocol: http }, \
    { name: echo, port: 81, appProtocol: tcp }, \
    { name: bulk, port: 82, appProtocol: tcp }, \
    { name: h2, port: 83, appProtocol: http2 } ] }\n";

pub(crate) fn start(
    lab: &Lab<'_>,
    name: &'static str,
    binary: &Path,
    ports: Ports,
    index: usize,
) -> anyhow::Result<Peer> {
    let folder = lab.folder.path().join(name);
    std::fs::create_dir_all(folder.join("manifests"))?;
    std::fs::write(folder.join("manifests/app.yaml"), SERVICE)?;
    if name == "ours-grown" {
        for (number, text) in grown::manifests()?.into_iter().enumerate() {
            std::fs::write(folder.join(format!("manifests/grown-{number}.yaml")), text)?;
        }
    }
    let workers = if name == "ours-one" { 1 } else { lab.workers() };
    let address = |side: u8| format!("127.77.{index}.{side}");
    let socket = folder.join("control.sock");
    let control = json!({
        "listen": format!("{}:15012", address(1)),
        "manifests": folder.join("manifests"),
        "state": folder.join("control"),
        "adminSocket": socket,
    });
    let control = file(&folder, "control", &control)?;
    let mut command = Command::new(&lab.tools.control);
    let log = format!("{name}-control");
    // The control plane is not measured; it shares the app's CPU.
    let cpu = (!lab.floating).then_some(0);
    let control = spawn(command.arg(control), cpu, lab.folder.path(), &log)?;
    let mut receiver = sidecar(
        &folder,
        "app",
        &address(2),
        &token(&socket, "app")?,
        workers,
    );
    if let Value::Object(receiver) = &mut receiver {
        let [http, echo, bulk, h2] = APP;
        let registration = json!({
            "labels": { "app": "app" },
            "ports": { "http": http, "echo": echo, "bulk": bulk, "h2": h2 },
            "tunnelPort": 15008,
        });
        receiver.insert("registration".to_owned(), registration);
    }
    let token = token(&socket, "caller")?;
    let mut caller = sidecar(&folder, "caller", &address(3), &token, workers);
    if let Value::Object(caller) = &mut caller {
        let upstreams: Vec<Value> = (0..4)
            .map(|door| json!({ "host": "app", "port": 80 + door, "listen": local(ports.first(door)) }))
            .collect();
        caller.insert("upstreams".to_owned(), upstreams.into());
    }
    let run = |bootstrap: &Value, side: &str| {
        let path = file(&folder, side, bootstrap)?;
        let mut command = Command::new(binary);
        command.arg("run").arg(path);
        let log = format!("{name}-{side}");
        anyhow::Ok(Start { command, log })
    };
    let starts = vec![run(&receiver, "b")?, run(&caller, "a")?];
    let doors = [0, 1, 2, 3].map(|door| Some(local(ports.first(door))));
    let peer = Peer::new(lab, name, doors, starts, vec![control])?;
    let tunnel = format!("{}:15008", address(2)).parse()?;
    Ok(peer.with_second(tunnel, &folder.join("caller-identity")))
}

fn sidecar(folder: &Path, account: &str, address: &str, token: &str, workers: u32) -> Value {
    json!({
        "workload": format!("demo/{account}"),
        "serviceAccount": account,
        "joinToken": token,
        "identityDir": folder.join(format!("{account}-identity")),
        "stateDir": folder.join(format!("{account}-state")),
        "adminSocket": folder.join(format!("{account}.sock")),
        "address": address,
        "workers": workers,
    })
}

fn file(folder: &Path, name: &str, content: &Value) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, content.to_string())?;
    Ok(path)
}
