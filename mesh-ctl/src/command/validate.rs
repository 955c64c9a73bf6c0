//! `meshctl validate`: every fault of manifests, with file, line and field.

use std::path::PathBuf;

use clap::Args;
use mesh_api::manifest::ManifestFault;
use serde::Serialize;

use crate::render::{Output, count, show};
use crate::source::files::Files;

/// Arguments of `meshctl validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Files, or folders of them.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    files: usize,
    resources: usize,
    faults: Vec<Fault<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fault<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    object: Option<&'a str>,
    path: &'a str,
    reason: &'a str,
}

/// Prints the faults; 1 if there are any.
pub(crate) fn run(arguments: &Validate) -> anyhow::Result<u8> {
    let files = Files::read(&arguments.paths)?;
    let faults = files.all_faults();
    let report = Report {
        files: files.count,
        resources: files.resources.len(),
        faults: faults.iter().map(Fault::of).collect(),
    };
    show(arguments.output, &report, || {
        let mut lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "{} in {}, {}\n",
            count(report.resources, "resource"),
            count(report.files, "file"),
            count(faults.len(), "fault")
        ));
        lines.join("\n")
    })?;
    Ok(u8::from(!faults.is_empty()))
}

impl<'a> Fault<'a> {
    fn of(fault: &'a ManifestFault) -> Self {
        Self {
            file: &fault.file,
            line: fault.line,
            column: fault.column,
            object: fault.object.as_deref(),
            path: &fault.path,
            reason: &fault.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_checked_across_files() {
        let folder = tempfile::tempdir().unwrap();
        let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
            metadata: {name: a, namespace: demo}\nspec:\n  parentRefs: [{group: '', kind: Service, name: a, port: 80}]\n  \
            rules: [{backendRefs: [{name: missing, port: 80}]}]\n";
        let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: demo}\n\
            spec: {selector: {app: a}, ports: [{name: http, port: 80}]}\n";
        std::fs::write(folder.path().join("a.yaml"), route).unwrap();
        std::fs::write(folder.path().join("b.yaml"), service).unwrap();
        let files = Files::read(&[folder.path().to_owned()]).unwrap();
        let faults = files.all_faults();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].to_string().contains("missing"), "{}", faults[0]);
    }
}
