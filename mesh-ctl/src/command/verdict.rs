//! What is decided on a request, as a few facts to compare: for `meshctl test` and `meshctl diff`.

use anyhow::Context;
use mesh_api::decide::Caller;
use mesh_api::translate::Catalog;
use serde_json::Value;

use crate::command::explain::{Asked, offline};
use crate::source::json::list;

/// A decision on one request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The route that the winning rule is of, `namespace/name`.
    pub(crate) route: Option<String>,
    /// The place of the winning rule, and its name.
    pub(crate) rule: Option<(u64, Option<String>)>,
    /// Every possible outcome.
    pub(crate) outcomes: Vec<Outcome>,
}

/// One possible outcome.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// How often, in percent.
    pub(crate) percent: f64,
    /// The backend, `namespace/name:port`, if it is forwarded.
    pub(crate) backend: Option<String>,
    /// The status, if the mesh answers.
    pub(crate) status: Option<u64>,
    /// Why the mesh refuses it.
    pub(crate) reason: Option<String>,
    /// Where it is redirected to.
    pub(crate) location: Option<String>,
    /// The target and the Host that go out.
    pub(crate) target: Option<String>,
    /// The Host that goes out.
    pub(crate) host: Option<String>,
    /// The header fields that go out.
    pub(crate) fields: Vec<(String, String)>,
    /// Settings in force, as `name value`.
    pub(crate) settings: Vec<String>,
}

/// Decides on `asked` as the proxy of `caller` would, by `catalog`.
pub(crate) fn decide(
    catalog: &Catalog,
    caller: Caller<'_>,
    asked: &Asked,
) -> anyhow::Result<Verdict> {
    let explanation = offline(catalog, caller, asked)?;
    let explained = serde_json::to_value(&explanation).context("the explanation is no JSON")?;
    let matched = &explained["matched"];
    let name = matched["name"].as_str().map(str::to_owned);
    Ok(Verdict {
        route: matched["route"].as_str().map(str::to_owned),
        rule: matched["rule"].as_u64().map(|rule| (rule, name)),
        outcomes: list(&explained, "outcomes")
            .iter()
            .map(Outcome::of)
            .collect(),
    })
}

impl Verdict {
    /// One line per outcome.
    pub(crate) fn lines(&self) -> Vec<String> {
        let by = match (&self.route, &self.rule) {
            (Some(route), Some((rule, _))) => format!(" by {route} spec.rules[{rule}]"),
            _ => String::new(),
        };
        self.outcomes
            .iter()
            .map(|outcome| format!("{outcome}{by}"))
            .collect()
    }
}

impl Outcome {
    fn of(value: &Value) -> Self {
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        let settings = [
            "requestTimeout",
            "perTryTimeout",
            "streamIdle",
            "maxStreamDuration",
            "propagateDeadline",
            "retry",
            "connectTimeout",
            "algorithm",
            "poolIdle",
            "limits",
            "outlierDetection",
            "healthCheck",
            "maxConnectionAge",
        ];
        let settings = settings.iter().filter_map(|name| {
            let setting = value[*name]["value"].as_str()?;
            Some(format!("{name} {setting}"))
        });
        let field = |pair: &Value| Some((owned(&pair[0])?, owned(&pair[1])?));
        Self {
            percent: value["percent"].as_f64().unwrap_or(100.0),
            backend: owned(&value["backend"]),
            status: value["status"].as_u64(),
            reason: owned(&value["reason"]),
            location: owned(&value["location"]),
            target: owned(&value["request"]["target"]),
            host: owned(&value["request"]["host"]),
            fields: list(&value["request"], "fields")
                .iter()
                .filter_map(field)
                .collect(),
            settings: settings.collect(),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}% ", self.percent)?;
        match (&self.backend, self.status, &self.location) {
            (Some(backend), ..) => write!(
                f,
                "to {backend} as {}",
                self.target.as_deref().unwrap_or("/")
            ),
            (None, Some(status), Some(location)) => write!(f, "redirect {status} to {location}"),
            (None, Some(status), None) if self.reason.is_none() => {
                write!(f, "answered with {status}")
            }
            (None, Some(status), None) => {
                write!(
                    f,
                    "refused with {status} ({})",
                    self.reason.as_deref().unwrap_or("-")
                )
            }
            _ => f.write_str("nothing"),
        }
    }
}

/// True if `wanted` names `destination` (`namespace/name:port`), in full or without namespace or port.
pub(crate) fn is_named(destination: &str, wanted: &str) -> bool {
    let service = destination
        .rsplit_once(':')
        .map_or(destination, |(service, _)| service);
    let without_namespace = |name: &str| name.rsplit('/').next().map(str::to_owned);
    [destination, service].iter().any(|name| {
        *name == wanted
            || (!wanted.contains('/') && without_namespace(name).as_deref() == Some(wanted))
    })
}

/// The text of a value that may be missing.
pub(crate) fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"))
}
