//! Time for callers to learn that a pod ends, before its app does.

use serde_json::{Value, json};

/// Has each container that names no hook of its own go on for `seconds` once the pod is told to end.
pub(super) fn delay(pod: &mut Value, seconds: u64, grace: u64) {
    // What is left of a short grace period is the app's.
    if seconds == 0 || grace < seconds * 2 {
        return;
    }
    let Some(Value::Array(containers)) = pod["spec"].get_mut("containers") else {
        return;
    };
    for container in containers {
        let Some(container) = container.as_object_mut() else {
            continue;
        };
        super::edit(container, "lifecycle", |lifecycle| {
            let hook = lifecycle.entry("preStop").or_insert(Value::Null);
            if hook.is_null() {
                *hook = json!({ "sleep": { "seconds": seconds } });
            }
        });
    }
}
