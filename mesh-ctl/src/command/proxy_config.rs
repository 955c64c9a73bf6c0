//! `meshctl proxy-config`: what one proxy decides by, and where each part comes from.
//!
//! Live it is asked through the control plane; offline it reads what `-o json` wrote.

mod items;
mod narrow;
mod policies;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum, ValueHint};
use mesh_api::name::{Namespace, ObjectName};
use serde_json::Value;

use crate::command::complete;
use crate::command::watch::{Watch, Watched};
use crate::render::{ListFormat, ListOutput, Rows, list};
use crate::source::admin::Admin;
use crate::source::origin::Origin;
use crate::source::proxy;

use narrow::Only;

/// Arguments of `meshctl proxy-config`.
#[derive(Debug, Args)]
pub(crate) struct ProxyConfig {
    /// Which part.
    #[arg(value_enum)]
    part: Part,
    /// The workload, `namespace/name`; a bare name if there is one of that name.
    #[arg(value_name = "WORKLOAD", required_unless_present = "file", add = complete::workloads())]
    workload: Option<String>,
    /// Namespace of the workload.
    #[arg(short, long, value_name = "NS", add = complete::namespaces())]
    namespace: Option<Namespace>,
    /// Read what `meshctl proxy-config all -o json` wrote, instead of asking a proxy.
    #[arg(
        short = 'f',
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["workload", "namespace", "watch"]
    )]
    file: Option<PathBuf>,
    /// Only what belongs to this Service, `name` or `namespace/name`.
    #[arg(long, value_name = "NAME", add = complete::services())]
    service: Option<String>,
    /// Only what belongs to this port of a Service, or of the workload.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    #[command(flatten)]
    output: ListOutput,
    #[command(flatten)]
    watch: Watch,
}

/// A part of a proxy's config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Every part; `-o json` keeps it for `--file`.
    All,
    /// Listening sockets.
    Listeners,
    /// Rules by destination.
    Routes,
    /// Backends by destination.
    Backends,
    /// Endpoints by backend, with their health.
    Endpoints,
    /// Settings in force with the field that set each; `-o wide` adds the defaults.
    Policies,
    /// The certificate in use, its chain and the roots trusted.
    Certificates,
}

/// Prints the part asked for.
pub(crate) async fn run(arguments: ProxyConfig, origin: &Origin) -> anyhow::Result<u8> {
    if let Some(file) = &arguments.file {
        let text = arguments.text(read(file)?)?;
        crate::render::print(&text)?;
        return Ok(0);
    }
    let admin = origin.admin().await?;
    let wanted = arguments.workload.as_deref().unwrap_or_default();
    let workload = proxy::find(&admin, wanted, arguments.namespace.as_ref()).await?;
    let watched = match arguments.part {
        Part::Certificates => Watched::WithAges,
        _ => Watched::Exact,
    };
    let look = async || arguments.text(fetch(&admin, &workload).await?);
    arguments.watch.show(watched, look).await
}

impl ProxyConfig {
    /// The part asked for of a whole dump, as text.
    fn text(&self, mut dump: Value) -> anyhow::Result<String> {
        let only = Only::new(self.service.as_deref(), self.port);
        only.apply(&mut dump);
        let format = self.output.format;
        if self.part == Part::All {
            return all(&dump, format);
        }
        let part = self.part.items(&dump);
        if items_missing(&part) && only.is_set() && format != ListFormat::Json {
            bail!("nothing matches --service and --port; without them `proxy-config` shows all");
        }
        let names = || items::names(&part);
        list(
            format,
            &part,
            |width| self.part.table(&part, width).to_text(),
            names,
        )
    }
}

impl Part {
    /// The parts in the order that a call meets them.
    const EACH: [Self; 6] = [
        Self::Listeners,
        Self::Routes,
        Self::Backends,
        Self::Endpoints,
        Self::Policies,
        Self::Certificates,
    ];

    /// Its items, each with the names of what it is in.
    fn items(self, dump: &Value) -> Value {
        Value::Array(match self {
            Self::All => Vec::new(),
            Self::Listeners => items::listeners(dump),
            Self::Routes => items::routes(dump),
            Self::Backends => items::backends(dump),
            Self::Endpoints => items::endpoints(dump),
            Self::Policies => policies::settings(dump),
            Self::Certificates => items::certificates(dump),
        })
    }

    fn table(self, items: &Value, width: crate::render::Width) -> Rows {
        match self {
            Self::All | Self::Listeners => tables::listeners_table(items),
            Self::Routes => tables::routes_table(items, width),
            Self::Backends => tables::backends_table(items, width),
            Self::Endpoints => tables::endpoints_table(items, width),
            Self::Policies => policies::table(items, width),
            Self::Certificates => tables::certificates_table(items, width),
        }
    }
}

fn items_missing(items: &Value) -> bool {
    items.as_array().is_none_or(Vec::is_empty)
}

/// Every part under its title; for programs, the dump as it is.
fn all(dump: &Value, format: ListFormat) -> anyhow::Result<String> {
    let sections = |width| {
        let section = |part: Part| {
            let title = part.to_possible_value()?.get_name().to_uppercase();
            let table = part.table(&part.items(dump), width);
            (!table.is_empty()).then(|| format!("{title}\n{}", table.to_text()))
        };
        let sections: Vec<String> = Part::EACH.into_iter().filter_map(section).collect();
        sections.join("\n")
    };
    let names = || {
        let parts = Part::EACH.iter().filter_map(|part| match part.items(dump) {
            Value::Array(items) => Some(items),
            _ => None,
        });
        items::names(&Value::Array(parts.flatten().collect()))
    };
    list(format, dump, sections, names)
}

/// The whole dump of a running proxy.
async fn fetch(admin: &Admin, workload: &ObjectName) -> anyhow::Result<Value> {
    let mut dump = proxy::page(admin, workload, "config").await?;
    dump["endpointHealth"] = proxy::page(admin, workload, "endpoints").await?;
    // A proxy that has no certificate yet says so with an error, and still has a config.
    dump["certificates"] = proxy::page(admin, workload, "certificates")
        .await
        .unwrap_or_default();
    Ok(dump)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let is_dump = |dump: &Value| dump.get("destinations").is_some();
    let dump = serde_saphyr::from_str(&text).ok().filter(is_dump);
    dump.with_context(|| {
        format!(
            "{} is no dump of a proxy; make one with `meshctl proxy-config all WORKLOAD -o json`",
            file.display()
        )
    })
}

/// `namespace/name`; a bare name is in `default`.
pub(crate) fn workload_name(text: &str) -> anyhow::Result<ObjectName> {
    let full = if text.contains('/') {
        text.to_owned()
    } else {
        format!("default/{text}")
    };
    full.parse()
        .with_context(|| format!("{text:?} is no workload (namespace/name)"))
}
