//! `meshctl inject`: manifests with a proxy in every pod, as the webhook would make them.

mod document;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use mesh_api::name::Namespace;
use mesh_control::inject::{Mode, Settings};
use mesh_proxy::bootstrap::RootHash;
use serde_json::Value;

use crate::adoption::{self, Breakage, Objects};
use crate::render::{count, json, note, print, yaml};

use document::{Done, Injector};

/// Arguments of `meshctl inject`.
#[derive(Debug, Args)]
pub(crate) struct Inject {
    /// Manifest, `-` for standard input. Repeatable.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Namespace of what names none.
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: Namespace,
    /// SHA-256 of a root that the mesh trusts, as 64 hexadecimal digits. Repeatable.
    #[arg(long = "root-hash", value_name = "HASH", required = true)]
    root_hashes: Vec<RootHash>,
    /// Settings of injection as JSON: the key `injection.json` of the ConfigMap mesh-config-...
    /// [default: those of a new installation].
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Image of the proxy.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Where proxies find the control plane.
    #[arg(long, value_name = "HOST:PORT")]
    control: Option<String>,
    /// The node's CNI plug-in captures: no init container.
    #[arg(long)]
    cni: bool,
    /// How to print the manifests.
    #[arg(short, long, value_enum, default_value = "yaml", value_name = "FORMAT")]
    output: ManifestFormat,
}

/// How manifests are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ManifestFormat {
    /// One document each.
    Yaml,
    /// One value, a List if there are several.
    Json,
}

/// Prints the manifests on standard output, and what became of each on standard error; nothing but
/// faults, and 1, if any is refused.
pub(crate) fn run(arguments: &Inject) -> anyhow::Result<u8> {
    let mut documents = Vec::new();
    for file in &arguments.files {
        documents.extend(read(file)?);
    }
    let hashes: Vec<String> = arguments
        .root_hashes
        .iter()
        .map(ToString::to_string)
        .collect();
    let settings = arguments.settings()?;
    let injector = Injector::new(&settings, &hashes, &arguments.namespace, &documents);
    let done: Vec<Done> = documents
        .into_iter()
        .flat_map(|d| injector.inject(d))
        .collect();
    for one in &done {
        one.tell();
    }
    let refused = done.iter().filter(|one| one.is_refused()).count();
    if refused > 0 {
        note(&format!(
            "{} refused; nothing is printed",
            count(refused, "object")
        ));
        return Ok(1);
    }
    let values: Vec<Value> = done.into_iter().map(Done::into_value).collect();
    warn(&values, arguments.namespace.as_str());
    print(&text(arguments.output, values)?)?;
    Ok(0)
}

/// What a reading of objects finds.
type Look = fn(&Objects) -> Vec<Breakage>;

/// What of injected manifests can be seen to break. Who is on its node's network is refused before.
const LOOKS: [Look; 5] = [
    adoption::entries,
    adoption::outsiders,
    adoption::scrapes,
    adoption::webhooks,
    adoption::network_policies,
];

/// Says, on standard error, what strict mutual TLS would break among injected manifests.
fn warn(values: &[Value], namespace: &str) {
    let objects = Objects::declared(values, namespace);
    let found: Vec<Breakage> = LOOKS.iter().flat_map(|look| look(&objects)).collect();
    if found.is_empty() {
        return;
    }
    note("strict mutual TLS would break, as far as these files tell:");
    for one in found {
        note(&one.text("  "));
    }
}

impl Inject {
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = match &self.settings {
            Some(path) => Settings::load(path)?,
            None => Settings::default(),
        };
        if let Some(image) = &self.image {
            settings.image.clone_from(image);
        }
        if let Some(control) = &self.control {
            settings.control.clone_from(control);
        }
        if self.cni {
            settings.mode = Mode::Cni;
        }
        Ok(settings)
    }
}

/// The documents of a file.
fn read(path: &Path) -> anyhow::Result<Vec<Value>> {
    let shown = path.display();
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?
    };
    let documents = serde_saphyr::from_multiple::<Value>(&text);
    let mut documents = documents.with_context(|| format!("{shown} is not YAML"))?;
    documents.retain(|document| !document.is_null());
    for (index, document) in documents.iter().enumerate() {
        if !document["kind"].is_string() || !document["apiVersion"].is_string() {
            bail!("{shown}: document {} has no apiVersion and kind", index + 1);
        }
    }
    Ok(documents)
}

fn text(format: ManifestFormat, mut values: Vec<Value>) -> anyhow::Result<String> {
    match format {
        ManifestFormat::Yaml => {
            let texts: anyhow::Result<Vec<String>> = values.iter().map(yaml).collect();
            Ok(texts?.join("---\n"))
        }
        ManifestFormat::Json if values.len() == 1 => json(&values.remove(0)),
        ManifestFormat::Json => {
            json(&serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": values }))
        }
    }
}
