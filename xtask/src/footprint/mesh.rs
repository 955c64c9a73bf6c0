//! A control plane with five services, and the bootstrap of a sidecar that dials them all.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Guard;
use crate::dist;

/// Longer than this and the control plane did not start.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where everything listens; loopback addresses that no demo takes.
const ADDRESS: &str = "127.99.99.1";

/// Running until dropped; its folder goes with it.
pub(super) struct FiveServices {
    folder: PathBuf,
    bootstrap: PathBuf,
    _control: Guard,
}

impl FiveServices {
    pub(super) fn start() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("mesh-measure-{}", std::process::id()));
        let manifests = folder.join("manifests");
        std::fs::create_dir_all(&manifests)?;
        std::fs::write(manifests.join("services.yaml"), services())?;
        let socket = folder.join("control.sock");
        let control = folder.join("control.json");
        let settings = json!({
            "listen": format!("{ADDRESS}:15012"),
            "manifests": manifests,
            "state": folder.join("control"),
            "adminSocket": socket,
        });
        std::fs::write(&control, settings.to_string())?;
        let binary = dist::binary("mesh-control");
        let mut command = Command::new(&binary);
        command
            .arg(&control)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| binary.display().to_string())?;
        let control = Guard(child);
        let token = token(&socket, "caller")?;
        let bootstrap = folder.join("proxy.json");
        std::fs::write(&bootstrap, sidecar(&folder, &token).to_string())?;
        Ok(Self {
            folder,
            bootstrap,
            _control: control,
        })
    }

    pub(super) fn bootstrap(&self) -> &Path {
        &self.bootstrap
    }
}

impl Drop for FiveServices {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn services() -> String {
    let mut text = String::new();
    for index in 0..5 {
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: service-{index}, namespace: demo }}\n\
             spec: {{ selector: {{ app: none }}, ports: [{{ port: 80, appProtocol: http }}] }}"
        )
        .ok();
    }
    text
}

fn sidecar(folder: &Path, token: &str) -> Value {
    let upstreams: Vec<Value> = (0..5)
        .map(|index| json!({ "host": format!("service-{index}"), "port": 80, "listen": format!("{ADDRESS}:{}", 19080 + index) }))
        .collect();
    json!({
        "workload": "demo/caller",
        "serviceAccount": "caller",
        "joinToken": token,
        "identityDir": folder.join("identity"),
        "stateDir": folder.join("state"),
        "adminSocket": folder.join("proxy.sock"),
        "address": ADDRESS,
        "observe": format!("{ADDRESS}:15020"),
        "workers": 2,
        "upstreams": upstreams,
    })
}

/// A join token for `account` of the control plane behind `socket`, once it answers.
pub(crate) fn token(socket: &Path, account: &str) -> anyhow::Result<String> {
    let started = Instant::now();
    loop {
        match ask(socket, account) {
            Ok(token) => return Ok(token),
            Err(error) if started.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn ask(socket: &Path, account: &str) -> anyhow::Result<String> {
    let body = json!({ "namespace": "demo", "serviceAccount": account }).to_string();
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "POST /tokens HTTP/1.1\r\nhost: control\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let Some((_, body)) = answer.split_once("\r\n\r\n") else {
        bail!("no answer: {answer}")
    };
    let value: Value = serde_json::from_str(body)?;
    Ok(value["token"]
        .as_str()
        .context("no token in the answer")?
        .to_owned())
}
