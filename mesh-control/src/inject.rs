//! A pod with a proxy in it: the pod as it was in, the pod as it should be out. Pure.
//!
//! The webhook and `meshctl inject` call this one function. It works on the pod as JSON, so that no
//! field is lost that this build does not know. Injecting what is injected changes nothing, and puts
//! the proxy first again where another webhook put something before it. May use nothing of this crate.

mod container;
mod eligible;
mod refuse;
mod relay;
mod settings;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use mesh_api::error::{Faults, Invalid};
use mesh_api::pod::{Exclusions, INIT_CONTAINER, PROXY_CONTAINER, Probes, annotation, label};
use serde_json::{Map, Value, json};

pub use eligible::Namespace;
pub use settings::{Mode, Resources, Settings};

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is left as it is, for this reason.
    Unchanged(String),
    /// It has a proxy.
    Injected(Box<Injected>),
}

/// A pod with its proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Injected {
    /// The whole pod.
    pub pod: Value,
    /// What its owner may not expect.
    pub warnings: Vec<String>,
}

/// Why a pod that asks for a proxy gets none: every reason, with what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Fields of the pod, and what is wrong with each.
    pub faults: Vec<Invalid>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for Refused {}

/// Adds a proxy to `pod`, a Pod or the template of one, if it asks for one or its namespace does.
/// `root_hashes` are the SHA-256 hashes of the trusted roots, in hexadecimal.
///
/// # Errors
/// The pod asks for a proxy that cannot work in it.
pub fn inject(
    pod: &Value,
    namespace: &Namespace,
    settings: &Settings,
    root_hashes: &[String],
) -> Result<Outcome, Refused> {
    let mut faults = Faults::default();
    refuse::check_shape(pod, &mut faults);
    refused(&mut faults)?;
    if let Some(reason) = eligible::left_alone(pod, namespace) {
        return Ok(Outcome::Unchanged(reason));
    }
    refuse::check(pod, namespace, settings, &mut faults);
    if root_hashes.is_empty() {
        faults
            .refuse("the roots that the mesh trusts are not known, and a proxy joins by them only");
    }
    let asked = Asked::read(pod, settings, &mut faults);
    refused(&mut faults)?;

    let mut next = pod.clone();
    let mut warnings = Vec::new();
    let probes = relay::rewrite(&mut next, asked.grace, &mut faults, &mut warnings);
    refused(&mut faults)?;
    stop::delay(&mut next, settings.app_stop_delay_seconds, asked.grace);
    let built = container::Built {
        settings,
        asked: &asked,
        probes: &probes,
        root_hashes,
    };
    place(&mut next, &built);
    mark(&mut next, &probes);
    if settings.mode == Mode::Cni {
        say_exclusions(&mut next, &asked.exclusions);
    }
    if next == *pod {
        return Ok(Outcome::Unchanged("it has its proxy already".to_owned()));
    }
    warn(&next, &asked, &mut warnings);
    let pod = next;
    Ok(Outcome::Injected(Box::new(Injected { pod, warnings })))
}

/// What the pod itself says of its proxy.
struct Asked {
    exclusions: Exclusions,
    cpu: String,
    memory: String,
    log_level: String,
    access_log: bool,
    /// Seconds.
    drain: u64,
    /// Seconds between the pod's first signal and the last.
    grace: u64,
}

/// Seconds of a pod that does not say.
const USUAL_GRACE: u64 = 30;
/// Seconds of the grace period that are left to the app.
const GRACE_MARGIN: u64 = 5;

impl Asked {
    fn read(pod: &Value, settings: &Settings, faults: &mut Faults) -> Self {
        let annotations = strings(&pod["metadata"]["annotations"]);
        let text = |name: &str, usual: &str| {
            let said = annotations.get(name).map(|text| text.trim());
            said.unwrap_or(usual).to_owned()
        };
        let cpu = text(annotation::PROXY_CPU, &settings.resources.cpu);
        let memory = text(annotation::PROXY_MEMORY, &settings.resources.memory);
        let log_level = text(annotation::LOG_LEVEL, &settings.log_level);
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
        let grace = grace.unwrap_or(USUAL_GRACE);
        let usual = settings
            .drain_seconds
            .min(grace.saturating_sub(GRACE_MARGIN));
        let drain = refuse::drain(annotations.get(annotation::DRAIN), usual.max(1), faults);
        refuse::quantity(annotation::PROXY_CPU, &cpu, faults);
        refuse::quantity(annotation::PROXY_MEMORY, &memory, faults);
        refuse::log_level(&log_level, faults);
        let access_log = annotations.get(annotation::ACCESS_LOG);
        let access_log = refuse::access_log(access_log, settings.access_log, faults);
        let exclusions = Exclusions::of(&annotations).unwrap_or_else(|found| {
            for fault in found {
                faults.field(&fault.path, |f| f.refuse(fault.reason));
            }
            Exclusions::default()
        });
        Self {
            exclusions: exclusions.and(&settings.exclude),
            cpu,
            memory,
            log_level,
            access_log,
            drain,
            grace,
        }
    }
}

/// Puts the proxy's containers first and its volumes last, each once.
fn place(pod: &mut Value, built: &container::Built<'_>) {
    let is_current = pod["metadata"]["annotations"][annotation::VERSION] == mesh_api::version();
    let Some(spec) = pod["spec"].as_object_mut() else {
        return;
    };
    let mut wanted = vec![built.proxy()];
    if built.settings.mode == Mode::Init {
        wanted.insert(0, built.init());
    }
    let there = take_list(spec, "initContainers");
    let (ours, others): (Vec<Value>, Vec<Value>) =
        there.into_iter().partition(container::is_proxys);
    let mut placed: Vec<Value> = wanted
        .into_iter()
        .map(|wanted| {
            let held = ours.iter().find(|held| held["name"] == wanted["name"]);
            container::keep(held.filter(|_| is_current), wanted)
        })
        .collect();
    placed.extend(others);
    spec.insert("initContainers".to_owned(), Value::Array(placed));

    let wanted = container::volumes();
    let mut volumes = take_list(spec, "volumes");
    volumes
        .retain(|volume| !wanted.iter().any(|ours| ours["name"] == volume["name"]) || is_current);
    for ours in wanted {
        if !volumes.iter().any(|volume| volume["name"] == ours["name"]) {
            volumes.push(ours);
        }
    }
    spec.insert("volumes".to_owned(), Value::Array(volumes));
}

/// Labels and annotations of an injected pod.
fn mark(pod: &mut Value, probes: &Probes) {
    let Some(pod) = pod.as_object_mut() else {
        return;
    };
    edit(pod, "metadata", |metadata| {
        edit(metadata, "labels", |labels| {
            labels.insert(label::PROXY.to_owned(), json!("sidecar"));
        });
        edit(metadata, "annotations", |annotations| {
            annotations.insert(annotation::VERSION.to_owned(), json!(mesh_api::version()));
            if probes.0.is_empty() {
                annotations.remove(annotation::PROBES);
            } else if let Ok(text) = serde_json::to_string(probes) {
                annotations.insert(annotation::PROBES.to_owned(), json!(text));
            }
        });
    });
}

/// Writes down what the installation leaves out of every pod: the node reads nothing but the pod.
fn say_exclusions(pod: &mut Value, exclusions: &Exclusions) {
    let Some(pod) = pod.as_object_mut() else {
        return;
    };
    edit(pod, "metadata", |metadata| {
        edit(metadata, "annotations", |annotations| {
            for (name, list) in exclusions.annotations() {
                annotations.insert(name.to_owned(), json!(list));
            }
        });
    });
}

fn warn(pod: &Value, asked: &Asked, warnings: &mut Vec<String>) {
    for container in containers(pod) {
        let ports = container["ports"].as_array().map_or(&[][..], Vec::as_slice);
        for port in ports.iter().filter(|port| port["protocol"] == "UDP") {
            warnings.push(format!(
                "container {}: UDP to port {} goes past the proxy, as all UDP does",
                name_of(container),
                port["containerPort"]
            ));
        }
    }
    if asked.drain + 2 > asked.grace {
        warnings.push(format!(
            "{}: the proxy may drain for {} s, and the pod is ended after {} s \
             (spec.terminationGracePeriodSeconds)",
            annotation::DRAIN,
            asked.drain,
            asked.grace
        ));
    }
    let policy = &pod["spec"]["dnsPolicy"];
    if *policy == "Default" || *policy == "None" {
        warnings.push(
            "spec.dnsPolicy: the proxy finds the control plane by its name in the cluster; it cannot \
             join where that does not resolve"
                .to_owned(),
        );
    }
}

/// The app's containers: those that run beside it included, ours not.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let list = |name: &str| pod["spec"][name].as_array().map_or(&[][..], Vec::as_slice);
    let sidecars = list("initContainers").iter();
    let sidecars = sidecars.filter(|c| c["restartPolicy"] == "Always" && !container::is_proxys(c));
    list("containers").iter().chain(sidecars)
}

fn name_of(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// Takes the list `name` out; an absent one is empty.
fn take_list(spec: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match spec.remove(name) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Changes the object `name` of `of`, made where there is none.
fn edit(of: &mut Map<String, Value>, name: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let value = of.entry(name).or_insert(Value::Null);
    if !value.is_object() {
        *value = json!({});
    }
    if let Value::Object(object) = value {
        change(object);
    }
}

/// A map of strings; what is no string is passed over.
fn strings(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn refused(faults: &mut Faults) -> Result<(), Refused> {
    if faults.is_empty() {
        return Ok(());
    }
    let faults = std::mem::take(faults).into_vec();
    Err(Refused { faults })
}

/// Containers that are ours.
const OURS: [&str; 2] = [INIT_CONTAINER, PROXY_CONTAINER];
