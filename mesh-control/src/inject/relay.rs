//! Probes that the proxy relays: the kubelet has no identity, so it asks the proxy, which asks the app.

use std::collections::BTreeMap;

use mesh_api::error::Faults;
use mesh_api::pod::{
    Action, GrpcProbe, HttpProbe, OBSERVE_PORT, Probe, ProbeKind, Probes, annotation,
};
use serde_json::{Map, Value, json};

use super::{container, name_of};

/// Where a container keeps its probes.
const PROBES: [(ProbeKind, &str); 3] = [
    (ProbeKind::Liveness, "livenessProbe"),
    (ProbeKind::Readiness, "readinessProbe"),
    (ProbeKind::Startup, "startupProbe"),
];
/// Where it keeps what it is told.
const HOOKS: [(ProbeKind, &str); 2] = [
    (ProbeKind::PostStart, "postStart"),
    (ProbeKind::PreStop, "preStop"),
];

/// Has every probe of `pod` ask the proxy, and tells what they asked.
pub(super) fn rewrite(
    pod: &mut Value,
    grace: u64,
    faults: &mut Faults,
    warnings: &mut Vec<String>,
) -> Probes {
    let recorded = recorded(pod, faults);
    let mut probes = Probes::default();
    let numbers = numbers(pod);
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = pod["spec"].get_mut(list) else {
            continue;
        };
        for (index, one) in containers.iter_mut().enumerate() {
            let runs_on = list == "containers" || one["restartPolicy"] == "Always";
            if !runs_on || container::is_proxys(one) {
                continue;
            }
            let name = name_of(one).to_owned();
            let mut rewriting = Rewriting {
                numbers: &numbers,
                recorded: recorded.0.get(&name),
                grace,
                name: name.clone(),
                found: BTreeMap::new(),
                warnings,
            };
            faults.field("spec", |f| {
                f.field(list, |f| f.index(index, |f| rewriting.container(one, f)));
            });
            if !rewriting.found.is_empty() {
                probes.0.insert(name, rewriting.found);
            }
        }
    }
    probes
}

/// What an earlier injection recorded.
fn recorded(pod: &Value, faults: &mut Faults) -> Probes {
    let Some(text) = pod["metadata"]["annotations"][annotation::PROBES].as_str() else {
        return Probes::default();
    };
    serde_json::from_str(text).unwrap_or_else(|error| {
        faults.field(
            &format!("metadata.annotations[{}]", annotation::PROBES),
            |f| {
                f.refuse(format!("is not what injection wrote ({error}); remove it"));
            },
        );
        Probes::default()
    })
}

/// Ports by container and name.
fn numbers(pod: &Value) -> BTreeMap<(String, String), u16> {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let mut numbers = BTreeMap::new();
    for container in lists.into_iter().flatten().flatten() {
        for port in container["ports"].as_array().into_iter().flatten() {
            let number = port["containerPort"].as_u64();
            let number = number.and_then(|number| u16::try_from(number).ok());
            if let (Some(name), Some(number)) = (port["name"].as_str(), number) {
                let key = (name_of(container).to_owned(), name.to_owned());
                numbers.insert(key, number);
            }
        }
    }
    numbers
}

/// One container's probes.
struct Rewriting<'a> {
    numbers: &'a BTreeMap<(String, String), u16>,
    recorded: Option<&'a BTreeMap<ProbeKind, Probe>>,
    grace: u64,
    name: String,
    found: BTreeMap<ProbeKind, Probe>,
    warnings: &'a mut Vec<String>,
}

impl Rewriting<'_> {
    fn container(&mut self, container: &mut Value, faults: &mut Faults) {
        for (kind, field) in PROBES {
            if let Some(Value::Object(probe)) = container.get_mut(field) {
                let timeout = probe.get("timeoutSeconds").and_then(Value::as_u64);
                faults.field(field, |f| self.probe(kind, probe, timeout.unwrap_or(1), f));
            }
        }
        let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") else {
            return;
        };
        for (kind, field) in HOOKS {
            if let Some(Value::Object(hook)) = lifecycle.get_mut(field) {
                let path = format!("lifecycle.{field}");
                faults.field(&path, |f| self.probe(kind, hook, self.grace, f));
            }
        }
    }

    fn probe(
        &mut self,
        kind: ProbeKind,
        probe: &mut Map<String, Value>,
        timeout: u64,
        faults: &mut Faults,
    ) {
        let path = kind.path(&self.name);
        let get = probe.get("httpGet").unwrap_or(&Value::Null);
        if get["port"] == OBSERVE_PORT && get["path"] == path.as_str() {
            match self.recorded.and_then(|recorded| recorded.get(&kind)) {
                Some(known) => drop(self.found.insert(kind, known.clone())),
                None => faults.refuse(format!(
                    "asks the proxy's relay, and what it asked before is not in the annotation {}; \
                     write the probe as the app answers it",
                    annotation::PROBES
                )),
            }
            return;
        }
        let Some(action) = self.action(kind, probe, faults) else {
            return;
        };
        let timeout_seconds = u32::try_from(timeout.max(1)).unwrap_or(u32::MAX);
        let known = Probe {
            action,
            timeout_seconds,
        };
        self.found.insert(kind, known);
        for asked in ["httpGet", "tcpSocket", "grpc"] {
            probe.remove(asked);
        }
        let relayed = json!({ "path": path, "port": OBSERVE_PORT, "scheme": "HTTP" });
        probe.insert("httpGet".to_owned(), relayed);
    }

    /// What the probe does, where that comes over the network to the pod.
    fn action(
        &mut self,
        kind: ProbeKind,
        probe: &Map<String, Value>,
        faults: &mut Faults,
    ) -> Option<Action> {
        let known = ["httpGet", "tcpSocket", "grpc"];
        let (name, asked) = known.iter().find_map(|n| Some((*n, probe.get(*n)?)))?;
        if let Some(host) = asked["host"].as_str().filter(|host| !host.is_empty()) {
            self.warnings.push(format!(
                "container {}: its {kind} probe asks host {host}, not the pod; it is left as it is",
                self.name
            ));
            return None;
        }
        faults.field(name, |faults| {
            let port = faults.field("port", |f| self.port(&asked["port"], f))?;
            match name {
                "tcpSocket" => Some(Action::TcpSocket { port }),
                "grpc" => {
                    let service = asked["service"].as_str().unwrap_or_default().to_owned();
                    Some(Action::Grpc(GrpcProbe { port, service }))
                }
                _ => {
                    let mut numbered = asked.clone();
                    numbered["port"] = json!(port);
                    let read = serde_json::from_value::<HttpProbe>(numbered);
                    faults.take(read).map(Action::HttpGet)
                }
            }
        })
    }

    /// The number of a port; a name is one of the same container's.
    fn port(&self, port: &Value, faults: &mut Faults) -> Option<u16> {
        let number = match port {
            Value::String(name) => {
                let key = (self.name.clone(), name.clone());
                let named = self.numbers.get(&key).copied();
                named.or_else(|| name.parse().ok())
            }
            other => other.as_u64().and_then(|number| u16::try_from(number).ok()),
        };
        if number.is_none_or(|number| number == 0) {
            faults.refuse(format!("{port} is no port of the container"));
            return None;
        }
        number
    }
}
