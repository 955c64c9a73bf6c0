//! `meshctl get`: what the control plane holds.

pub(crate) mod kind;
mod object;
mod select;
mod tables;

use anyhow::bail;
use clap::{Args, ValueEnum};
use mesh_api::name::Namespace;
use mesh_api::resource::{Kind, nearest};
use serde_json::Value;

use crate::command::complete;
use crate::command::watch::{Watch, Watched};
use crate::render::{ListFormat, list};
use crate::source::admin::Admin;
use crate::source::json::{items, text};
use crate::source::origin::Origin;
use kind::Kinds;
use select::{Selector, is_in, is_named};

/// Arguments of `meshctl get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// A kind such as `HTTPRoute`, `services` or `svc`; `routes`, `policies`, or `resources`.
    #[arg(value_name = "WHAT", default_value = "resources", add = complete::kinds())]
    what: String,
    /// Only the object of this name, `name` or `namespace/name`; `-o yaml` prints it with its
    /// status.
    #[arg(value_name = "NAME", add = complete::names())]
    name: Option<String>,
    /// Only objects of this namespace [default: all].
    #[arg(short, long, value_name = "NS", conflicts_with = "all_namespaces", add = complete::namespaces())]
    namespace: Option<Namespace>,
    /// Objects of all namespaces: the default, spelled out.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only objects with these labels: `KEY=VALUE`, `KEY!=VALUE`, `KEY`, `!KEY`, several with commas.
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<Selector>,
    /// How to print the answer.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    output: Form,
    #[command(flatten)]
    watch: Watch,
}

/// How `get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns for people.
    Table,
    /// More columns.
    Wide,
    /// One JSON value, indented.
    Json,
    /// One YAML document.
    Yaml,
    /// `kind/namespace/name`, one a line.
    Name,
    /// Lines for /etc/hosts: the virtual IPs of services with their names.
    Hosts,
}

/// Prints the objects asked for.
pub(crate) async fn run(get: Get, origin: &Origin) -> anyhow::Result<u8> {
    let admin = origin.admin().await?;
    let kinds = kind::parse(&get.what)?;
    if get.output == Form::Hosts && kinds != Kinds::One(Kind::Service) {
        bail!("only services have hosts: `meshctl get services -o hosts`");
    }
    let look = async || get.text(&kinds, &admin).await;
    get.watch.show(Watched::Exact, look).await
}

impl Get {
    async fn text(&self, kinds: &Kinds, admin: &Admin) -> anyhow::Result<String> {
        let source = self.source(kinds);
        let all = admin.get(source).await?;
        let found = self.choose(kinds, &all)?;
        let format = match self.output {
            Form::Table => ListFormat::Table,
            Form::Wide => ListFormat::Wide,
            Form::Json => ListFormat::Json,
            Form::Yaml => ListFormat::Yaml,
            Form::Name => ListFormat::Name,
            Form::Hosts => {
                let ready = admin.get("/ready").await?;
                let domain = ready["clusterDomain"].as_str().unwrap_or("cluster.local");
                return tables::hosts(&found, domain, self.namespace.is_some());
            }
        };
        let found = Value::Array(found);
        if self.is_one_object() {
            let object = object::of(items(&found));
            return list(format, &object, |_| String::new(), Vec::new);
        }
        let table = |width| match source {
            "/services" => tables::services(&found, width),
            "/workloads" => tables::workloads(&found, width),
            _ => tables::resources(&found, width),
        };
        let names = || {
            items(&found)
                .iter()
                .map(|row| tables::name(row, kinds))
                .collect()
        };
        list(format, &found, table, names)
    }

    /// Where the control plane tells of what is asked for.
    fn source(&self, kinds: &Kinds) -> &'static str {
        match kinds {
            _ if self.is_one_object() => "/resources?objects",
            Kinds::One(Kind::Service) => "/services",
            Kinds::One(Kind::Workload) => "/workloads",
            _ => "/resources",
        }
    }

    /// True where one object is to be shown whole.
    fn is_one_object(&self) -> bool {
        self.name.is_some() && matches!(self.output, Form::Json | Form::Yaml)
    }

    fn choose(&self, kinds: &Kinds, all: &Value) -> anyhow::Result<Vec<Value>> {
        // Rows of `/services` and `/workloads` have no kind: they are all of one.
        let is_kind = |row: &&Value| {
            row.get("kind")
                .is_none_or(|_| kinds.takes(text(row, "kind")))
        };
        let of_kind: Vec<&Value> = items(all).iter().filter(is_kind).collect();
        let takes = |row: &&&Value| {
            is_in(row, self.namespace.as_ref())
                && self
                    .selector
                    .as_ref()
                    .is_none_or(|labels| labels.selects(row))
                && self.name.as_deref().is_none_or(|name| is_named(row, name))
        };
        let found: Vec<Value> = of_kind
            .iter()
            .filter(takes)
            .map(|row| (*row).clone())
            .collect();
        match &self.name {
            Some(name) if found.is_empty() => bail!("{}", self.missing(name, &of_kind)),
            _ => Ok(found),
        }
    }

    fn missing(&self, name: &str, of_kind: &[&Value]) -> String {
        let known: Vec<&str> = of_kind.iter().map(|row| text(row, "name")).collect();
        let bare = name.rsplit('/').next().unwrap_or(name);
        let place = self
            .namespace
            .as_ref()
            .map(|namespace| format!(" in {namespace}"));
        let what = &self.what;
        let hint = match nearest(bare, &known)
            .and_then(|near| of_kind.iter().find(|row| text(row, "name") == near))
        {
            Some(row) => format!("did you mean {}?", tables::full_name(row)),
            None => format!("`meshctl get {what}` lists what there is"),
        };
        format!(
            "no {what} named {name}{}; {hint}",
            place.unwrap_or_default()
        )
    }
}
