//! The Gateway API: its definitions in the cluster, and its own suite against the mesh.
//!
//! May use `binary`, `kind` and `step`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::binary;
use super::kind::Cluster;
use crate::step;

/// Every feature that the suite has for a mesh: with fewer, cases are left out.
const FEATURES: [&str; 17] = [
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "GRPCRoute",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
];
/// This version of the suite waits for pods in namespaces that only its cases for gateways make.
const AWAITED: [&str; 2] = [
    "gateway-conformance-app-backend",
    "gateway-conformance-web-backend",
];
/// The committed report.
const REPORT: &str = "docs/conformance/gateway-api-v1.6.1.yaml";

/// Applies the Gateway API's definitions, those of its own module.
pub(crate) fn define(cluster: &Cluster, experimental: bool) -> anyhow::Result<()> {
    let channel = if experimental {
        "experimental"
    } else {
        "standard"
    };
    let folder = binary::gateway_files()?.join("config/crd").join(channel);
    let mut apply = cluster.kubectl(["apply", "--server-side", "--force-conflicts"])?;
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("gateway.") {
            apply.arg("--filename").arg(&path);
        }
    }
    step::output(&mut apply)
        .with_context(|| format!("the Gateway API's definitions ({channel})"))?;
    let words = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "--all",
    ];
    step::output(&mut cluster.kubectl(words)?)?;
    Ok(())
}

/// Runs the suite, or one case of it, and writes the report of a whole run. Its exit status decides:
/// the report of this version can call a case passed that failed.
pub(crate) fn run(cluster: &Cluster, case: Option<&str>, meshed: bool) -> anyhow::Result<()> {
    await_namespaces(cluster)?;
    let report = match case {
        None => step::root().join(REPORT),
        Some(_) => step::target().join("conformance.yaml"),
    };
    if let Some(folder) = report.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut command = suite(cluster, &report)?;
    if let Some(case) = case {
        command.arg(format!("-run-test={case}"));
    }
    if meshed {
        command.arg("-namespace-labels=mesh.dev/inject=enabled");
    }
    step::run(&mut command)?;
    println!("report: {}", report.display());
    Ok(())
}

fn suite(cluster: &Cluster, report: &Path) -> anyhow::Result<Command> {
    let program: PathBuf = binary::GATEWAY.path("conformance.test")?;
    let mut command = cluster.command(program)?;
    command
        .current_dir(step::target())
        .args(["-test.v", "-test.timeout=30m", "-test.parallel=1"])
        .arg("-test.run=^TestConformance$")
        .arg("-conformance-profiles=MESH-HTTP,MESH-GRPC")
        .arg(format!("-supported-features={}", FEATURES.join(",")))
        .arg(format!("-report-output={}", report.display()))
        .args([
            "-organization=mesh",
            "-project=mesh",
            "-url=https://mesh.dev",
        ])
        .arg(format!("-version=v{}", env!("CARGO_PKG_VERSION")))
        .arg("-contact=https://mesh.dev");
    Ok(command)
}

/// One ready pod in each namespace that the suite waits for.
fn await_namespaces(cluster: &Cluster) -> anyhow::Result<()> {
    let manifests: String = AWAITED.iter().map(|name| awaited(name)).collect();
    let mut apply = cluster.kubectl(["apply", "--server-side", "--filename", "-"])?;
    let mut child = apply.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let input = child.stdin.take().context("kubectl has no input")?;
    std::io::Write::write_all(&mut { input }, manifests.as_bytes())?;
    anyhow::ensure!(child.wait()?.success(), "kubectl apply failed");
    for name in AWAITED {
        let words = [
            "wait",
            "--for=condition=Ready",
            "--timeout=60s",
            "pod/awaited",
        ];
        step::output(cluster.kubectl(words)?.args(["--namespace", name]))?;
    }
    Ok(())
}

fn awaited(namespace: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n\
         ---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: awaited, namespace: {namespace} }}\n\
         spec: {{ containers: [{{ name: pause, image: \"registry.k8s.io/pause:3.10.1\" }}] }}\n"
    )
}
