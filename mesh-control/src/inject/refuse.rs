//! What keeps a proxy from working in a pod, each with what helps.

use mesh_api::error::Faults;
use mesh_api::pod::{PROXY_UID, RESERVED_PORTS, annotation, label};
use mesh_api::resource::duration::Duration;
use serde_json::Value;

use super::{Mode, Namespace, OURS, Settings, container};

/// Level of Pod Security that a namespace enforces.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
/// Longest drain, in seconds.
const MAX_DRAIN: u64 = 3600;

/// Lists of a pod's containers.
const LISTS: [&str; 2] = ["initContainers", "containers"];

/// A pod is what it says: everything after this may rely on it.
pub(super) fn check_shape(pod: &Value, faults: &mut Faults) {
    let object = |value: &Value| value.is_object() || value.is_null();
    if !pod["spec"].is_object() {
        return faults.field("spec", |f| f.refuse("is missing: this is no pod"));
    }
    for field in ["labels", "annotations"] {
        if !object(&pod["metadata"][field]) || !object(&pod["metadata"]) {
            faults.field("metadata", |f| f.field(field, |f| f.refuse("is no map")));
        }
    }
    for field in ["initContainers", "containers", "volumes"] {
        let path = format!("spec.{field}");
        let list = match &pod["spec"][field] {
            Value::Array(list) => list,
            Value::Null if field != "containers" => continue,
            _ => return faults.field(&path, |f| f.refuse("is no list")),
        };
        for (index, entry) in list.iter().enumerate() {
            if entry["name"].as_str().is_none_or(str::is_empty) {
                faults.field(&path, |f| {
                    f.index(index, |f| f.field("name", |f| f.refuse("is missing")));
                });
            }
        }
    }
}

/// Everything else.
pub(super) fn check(pod: &Value, namespace: &Namespace, settings: &Settings, faults: &mut Faults) {
    let inject = &pod["metadata"]["labels"][label::INJECT];
    if !inject.is_null() && inject != "enabled" {
        faults.field(&format!("metadata.labels[{}]", label::INJECT), |f| {
            f.refuse(format!("{inject} is neither enabled nor disabled"));
        });
    }
    faults.field("spec", |faults| {
        check_host(&pod["spec"], faults);
        check_containers(pod, faults);
        check_volumes(pod, faults);
    });
    check_pod_security(namespace, settings, faults);
}

fn check_host(spec: &Value, faults: &mut Faults) {
    let advice = format!(
        "label the pod {}: disabled; in the mesh it can be reached as an endpoint without a proxy",
        label::INJECT
    );
    if spec["hostNetwork"] == true {
        faults.field("hostNetwork", |f| {
            f.refuse(format!(
                "a pod in its node's network cannot have a proxy: capture would take the node's \
                 traffic; {advice}"
            ));
        });
    }
    let windows =
        spec["os"]["name"] == "windows" || spec["nodeSelector"]["kubernetes.io/os"] == "windows";
    if windows {
        faults.field("os", |f| {
            f.refuse(format!("the proxy runs on Linux only; {advice}"));
        });
    }
}

fn check_containers(pod: &Value, faults: &mut Faults) {
    let spec = &pod["spec"];
    let shared = spec["securityContext"]["runAsUser"].as_u64();
    for list in LISTS {
        let containers = spec[list].as_array().map_or(&[][..], Vec::as_slice);
        faults.field(list, |faults| {
            for (index, one) in containers.iter().enumerate() {
                let ours = OURS.contains(&one["name"].as_str().unwrap_or_default());
                if ours && list == "initContainers" && container::is_proxys(one) && is_marked(pod) {
                    continue;
                }
                faults.index(index, |faults| {
                    if ours {
                        faults.field("name", |f| {
                            f.refuse(format!(
                                "{} is the name of a container that injection adds; rename it",
                                one["name"]
                            ));
                        });
                    }
                    check_user(one, shared, faults);
                    check_ports(one, faults);
                });
            }
        });
    }
}

fn check_user(container: &Value, shared: Option<u64>, faults: &mut Faults) {
    let own = container["securityContext"]["runAsUser"].as_u64();
    if own.or(shared) == Some(u64::from(PROXY_UID)) {
        faults.field("securityContext.runAsUser", |f| {
            f.refuse(format!(
                "{PROXY_UID} is the proxy's user, whose traffic is not captured; choose another"
            ));
        });
    }
}

fn check_ports(container: &Value, faults: &mut Faults) {
    let ports = container["ports"].as_array().map_or(&[][..], Vec::as_slice);
    faults.field("ports", |faults| {
        for (index, port) in ports.iter().enumerate() {
            let number = port["containerPort"].as_u64();
            let number = number.and_then(|number| u16::try_from(number).ok());
            let is_tcp = port["protocol"].as_str().is_none_or(|p| p == "TCP");
            if is_tcp && number.is_some_and(|number| RESERVED_PORTS.contains(&number)) {
                faults.index(index, |f| {
                    f.field("containerPort", |f| {
                        f.refuse(format!(
                            "{} is the proxy's (so are {RESERVED_PORTS:?}); let the app listen \
                             elsewhere",
                            port["containerPort"]
                        ));
                    });
                });
            }
        }
    });
}

fn check_volumes(pod: &Value, faults: &mut Faults) {
    if is_marked(pod) {
        return;
    }
    let ours = container::volumes();
    let volumes = pod["spec"]["volumes"].as_array();
    faults.field("volumes", |faults| {
        for (index, volume) in volumes.into_iter().flatten().enumerate() {
            if ours.iter().any(|ours| ours["name"] == volume["name"]) {
                faults.index(index, |f| {
                    f.field("name", |f| {
                        f.refuse(format!(
                            "{} is the name of a volume that injection adds; rename it",
                            volume["name"]
                        ));
                    });
                });
            }
        }
    });
}

fn check_pod_security(namespace: &Namespace, settings: &Settings, faults: &mut Faults) {
    let level = namespace.labels.get(POD_SECURITY).map(String::as_str);
    if let (Some(level @ ("restricted" | "baseline")), Mode::Init) = (level, settings.mode) {
        faults.refuse(format!(
            "namespace {} enforces the Pod Security level {level}, which forbids the init container \
             that captures traffic (NET_ADMIN); install the mesh with its CNI plug-in (meshctl \
             install --cni), or let the namespace enforce privileged",
            namespace.name
        ));
    }
}

/// True if an earlier injection left its mark.
fn is_marked(pod: &Value) -> bool {
    pod["metadata"]["annotations"][annotation::VERSION].is_string()
}

/// Reads a drain in seconds.
pub(super) fn drain(text: Option<&String>, usual: u64, faults: &mut Faults) -> u64 {
    let Some(text) = text else { return usual };
    let path = format!("metadata.annotations[{}]", annotation::DRAIN);
    faults.field(&path, |f| {
        let Some(duration) = f.take(Duration(text.trim().to_owned()).parse()) else {
            return usual;
        };
        if duration.as_secs() > MAX_DRAIN {
            f.refuse(format!("must be at most {MAX_DRAIN}s"));
        }
        duration.as_secs().max(1)
    })
}

/// Checks an amount of a resource as Kubernetes writes it.
pub(super) fn quantity(name: &str, text: &str, faults: &mut Faults) {
    let digits = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || *b == b'.');
    let (number, unit) = text.split_at(digits.count());
    let is_number = number.parse::<f64>().is_ok_and(|number| number > 0.0);
    let units = ["", "m", "k", "M", "G", "Ki", "Mi", "Gi"];
    if !is_number || !units.contains(&unit) {
        faults.field(&format!("metadata.annotations[{name}]"), |f| {
            f.refuse(format!("{text:?} is no amount such as 100m or 64Mi"));
        });
    }
}

/// Checks what is to be logged.
pub(super) fn log_level(text: &str, faults: &mut Faults) {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_:=,".contains(&b);
    if text.is_empty() || text.len() > 200 || !text.bytes().all(allowed) {
        faults.field(
            &format!("metadata.annotations[{}]", annotation::LOG_LEVEL),
            |f| {
                f.refuse("is no level such as info, debug, or warn,mesh_proxy=debug");
            },
        );
    }
}

/// Whether each exchange is to be written down.
pub(super) fn access_log(said: Option<&String>, usual: bool, faults: &mut Faults) -> bool {
    let Some(text) = said else {
        return usual;
    };
    let path = format!("metadata.annotations[{}]", annotation::ACCESS_LOG);
    let read = text.trim().parse::<bool>();
    let refused = || format!("{text:?} is neither true nor false");
    let taken = faults.field(&path, |f| f.take(read.map_err(|_| refused())));
    taken.unwrap_or(usual)
}
