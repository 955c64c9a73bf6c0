//! A bad manifest: refused at its file, line and field, while the rest of the folder applies.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Figure, load};
use crate::demo::generate;
use crate::demo::mesh::Mesh;

const FILE: &str = "bad.yaml";
/// The fault is on line 18: a timeout that is none.
const TEXT: &str = r#"apiVersion: v1
kind: Service
metadata: { name: beside-bad, namespace: demo }
spec:
  selector: { app: catalog }
  ports: [{ name: http, port: 80 }]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: bad
  namespace: demo
spec:
  parentRefs:
  - { group: "", kind: Service, name: catalog, port: 80 }
  rules:
  - timeouts:
      request: soon
    backendRefs:
    - { name: catalog-v1, port: 80 }
"#;
const LINE: u64 = 18;
const FIELD: &str = "spec.rules[0].timeouts.request";

/// Writes the bad file under load and reads how it stands.
pub(super) async fn check(mesh: &Mesh) -> Figure {
    let plan = load(mesh, 3)?;
    let (load, refused) = tokio::join!(generate::run(plan), refuse(mesh));
    mesh.remove_manifest(FILE)?;
    let refused = refused?;
    ensure!(load.ok == load.sent, "{}", load.figure());
    Ok(format!("{refused}; meanwhile {}", load.figure()))
}

async fn refuse(mesh: &Mesh) -> anyhow::Result<String> {
    sleep(Duration::from_millis(500)).await;
    mesh.write_manifest(FILE, TEXT)?;
    let limit = Instant::now() + Duration::from_secs(2);
    loop {
        let resources = mesh.admin().get("/resources").await?;
        let found =
            find(&resources, "HTTPRoute", "bad").zip(find(&resources, "Service", "beside-bad"));
        if let Some((bad, beside)) = found {
            return verify(&resources, bad, beside);
        }
        ensure!(Instant::now() < limit, "{FILE} does not show up within 2 s");
        sleep(Duration::from_millis(20)).await;
    }
}

fn verify(resources: &Value, bad: &Value, beside: &Value) -> anyhow::Result<String> {
    let faults = bad["faults"].as_array().context("no faults")?;
    let fault = faults.iter().find(|fault| fault["path"] == FIELD);
    let fault = fault.with_context(|| format!("no fault at {FIELD}, but {faults:?}"))?;
    let (file, line) = (bad["file"].as_str().unwrap_or_default(), &fault["line"]);
    ensure!(
        file.ends_with(FILE) && *line == LINE,
        "the fault is placed at {file}:{line}, not {FILE}:{LINE}"
    );
    ensure!(!is_accepted(bad), "the bad route is accepted");
    ensure!(
        is_accepted(beside),
        "the good document beside it is not accepted"
    );
    let others = resources.as_array().into_iter().flatten();
    let refused = others
        .filter(|resource| resource["name"] != "bad" && !is_accepted(resource))
        .count();
    ensure!(refused == 0, "{refused} good resources are not accepted");
    Ok(format!(
        "{FILE}:{line}: {FIELD}: {}",
        fault["reason"].as_str().unwrap_or_default()
    ))
}

fn find<'a>(resources: &'a Value, kind: &str, name: &str) -> Option<&'a Value> {
    let mut all = resources.as_array().into_iter().flatten();
    all.find(|resource| resource["kind"] == kind && resource["name"] == name)
}

fn is_accepted(resource: &Value) -> bool {
    let mut conditions = resource["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
}
