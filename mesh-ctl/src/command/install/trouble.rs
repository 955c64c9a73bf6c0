//! Why pods do not run: pure readings of their status.

use serde_json::Value;

use crate::source::json::{list, text};

/// Something that keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Whose, such as a pod's name.
    pub(crate) who: String,
    /// What is wrong.
    pub(crate) what: String,
    /// What helps.
    pub(crate) fix: &'static str,
    /// The pod and container that crashed: its log tells why.
    pub(crate) crashed: Option<(String, String)>,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.who, self.what)?;
        if !self.fix.is_empty() {
            write!(f, "\n    fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// What keeps sets of replicas from making pods: a quota, Pod Security, an admission webhook.
pub(crate) fn of_replica_sets(sets: &[Value]) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    for set in sets {
        let failure =
            condition(set, "ReplicaFailure").filter(|found| text(found, "status") == "True");
        let Some(failure) = failure else {
            continue;
        };
        let message = text(failure, "message");
        troubles.push(Trouble {
            who: format!("ReplicaSet {}", text(&set["metadata"], "name")),
            what: message.to_owned(),
            fix: refusal(message),
            crashed: None,
        });
    }
    troubles
}

/// What keeps pods from running.
pub(crate) fn of_pods(pods: &[Value]) -> Vec<Trouble> {
    pods.iter().flat_map(of_pod).collect()
}

fn of_pod(pod: &Value) -> Vec<Trouble> {
    let name = text(&pod["metadata"], "name");
    let mut troubles = Vec::new();
    if let Some(scheduled) = condition(pod, "PodScheduled")
        && text(scheduled, "status") == "False"
    {
        troubles.push(Trouble {
            who: format!("pod {name}"),
            what: format!("no node takes it: {}", text(scheduled, "message")),
            fix: "make room, or ask for less: control.resources, control.nodeSelector, \
                  control.tolerations",
            crashed: None,
        });
    }
    let status = &pod["status"];
    let all = list(status, "initContainerStatuses").iter();
    for container in all.chain(list(status, "containerStatuses")) {
        troubles.extend(of_container(name, container));
    }
    troubles
}

fn of_container(pod: &str, container: &Value) -> Option<Trouble> {
    let name = text(container, "name");
    let waiting = &container["state"]["waiting"];
    let (reason, message) = (text(waiting, "reason"), text(waiting, "message"));
    let ended = [
        &container["state"]["terminated"],
        &container["lastState"]["terminated"],
    ];
    let ended = ended.into_iter().find(|state| state.is_object());
    let (what, fix, is_crash) = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" => {
            let image = text(container, "image");
            (
                format!("the image {image} cannot be pulled: {message}"),
                "load it onto the nodes, or name where it is: image.registry, image.tag, \
                 image.pullSecrets",
                false,
            )
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => (
            format!("the container {name} cannot start: {message}"),
            refusal(message),
            false,
        ),
        _ => {
            let ended = ended.filter(|state| state["exitCode"] != 0)?;
            let code = &ended["exitCode"];
            let cause = match text(ended, "reason") {
                "OOMKilled" => "ran out of memory (control.resources.limits.memory)".to_owned(),
                _ => format!("ended with {code}"),
            };
            let starts = container["restartCount"].as_u64().unwrap_or_default() + 1;
            let what = format!("the container {name} {cause}, start {starts}");
            (what, "its last lines say why", true)
        }
    };
    Some(Trouble {
        who: format!("pod {pod}"),
        what,
        fix,
        crashed: is_crash.then(|| (pod.to_owned(), name.to_owned())),
    })
}

/// What helps against a refusal by its message.
fn refusal(message: &str) -> &'static str {
    if message.contains("exceeded quota") {
        "raise the ResourceQuota of mesh-system, or ask for less: control.resources"
    } else if message.contains("violates PodSecurity") {
        "let the namespace mesh-system have the Pod Security level that `meshctl install` gives it"
    } else if message.contains("failed calling webhook") || message.contains("denied the request") {
        "an admission webhook of another refuses pods of mesh-system; make an exception there"
    } else {
        ""
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = list(&object["status"], "conditions").iter();
    conditions
        .into_iter()
        .find(|found| text(found, "type") == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_trouble_is_named_with_what_helps() {
        let container = |state: Value| {
            json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [
                {"name": "c", "image": "mesh.dev/x:1", "restartCount": 2, "state": state},
            ]}})
        };
        for (pod, expected) in [
            (
                container(
                    json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
                ),
                "pod p: the image mesh.dev/x:1 cannot be pulled: not found",
            ),
            (
                container(json!({"terminated": {"exitCode": 1, "reason": "Error"}})),
                "pod p: the container c ended with 1, start 3",
            ),
            (
                container(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
                "pod p: the container c ran out of memory",
            ),
            (
                json!({"metadata": {"name": "p"}, "status": {"conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/2 nodes"},
                ]}}),
                "pod p: no node takes it: 0/2 nodes",
            ),
        ] {
            let found = of_pods(&[pod]);
            assert_eq!(found.len(), 1);
            assert!(found[0].to_string().starts_with(expected), "{}", found[0]);
            assert!(!found[0].fix.is_empty());
        }
        for state in [
            json!({"running": {}}),
            json!({"waiting": {"reason": "ContainerCreating"}}),
        ] {
            assert_eq!(of_pods(&[container(state)]), []);
        }
    }

    #[test]
    fn a_set_that_makes_no_pods_says_why() {
        let set = |status: &str| {
            json!({"metadata": {"name": "s"}, "status": {"conditions": [
                {"type": "ReplicaFailure", "status": status, "message": "pods \"x\" is forbidden: exceeded quota: q"},
            ]}})
        };
        let found = of_replica_sets(&[set("True")]);
        assert!(
            found[0].to_string().contains("raise the ResourceQuota"),
            "{}",
            found[0]
        );
        assert_eq!(of_replica_sets(&[set("False")]), []);
    }
}
