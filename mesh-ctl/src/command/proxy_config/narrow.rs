//! `--service` and `--port`: a dump without what belongs to others.

use serde_json::Value;

use crate::source::json::{text, texts};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Only<'a> {
    service: Option<&'a str>,
    port: Option<u16>,
}

impl<'a> Only<'a> {
    /// Either may be missing.
    pub(super) fn new(service: Option<&'a str>, port: Option<u16>) -> Self {
        Self { service, port }
    }

    /// True if anything is left out.
    pub(super) fn is_set(self) -> bool {
        self.service.is_some() || self.port.is_some()
    }

    /// Removes what was not asked for.
    pub(super) fn apply(self, dump: &mut Value) {
        if !self.is_set() {
            return;
        }
        retain(dump, "destinations", |one| self.takes(text(one, "name")));
        retain(dump, "listeners", |one| self.takes_listener(one));
        if let Some(Value::Array(inbound)) = dump.get_mut("inbound") {
            for side in inbound {
                retain(side, "ports", |port| self.takes_port(port));
            }
        }
    }

    /// True for `namespace/service:port` as asked for.
    fn takes(self, destination: &str) -> bool {
        let (service, port) = destination.rsplit_once(':').unwrap_or((destination, ""));
        self.takes_service(service) && self.port.is_none_or(|wanted| port == wanted.to_string())
    }

    fn takes_service(self, name: &str) -> bool {
        let bare = name.rsplit('/').next().unwrap_or(name);
        self.service
            .is_none_or(|wanted| wanted == name || wanted == bare)
    }

    fn takes_listener(self, listener: &Value) -> bool {
        let target = text(listener, "upstream");
        let (host, port) = target.rsplit_once(':').unwrap_or((target, ""));
        let bound = text(listener, "address").rsplit(':').next();
        let wanted = self.port.map(|port| port.to_string());
        let has_port = wanted.is_none_or(|wanted| port == wanted || bound == Some(&wanted));
        // An outbound listener names its host as the caller writes it: `catalog`, `catalog.demo`.
        let dials = self.service.is_none_or(|wanted| {
            let bare = wanted.rsplit('/').next();
            host.split('.').next() == bare
        });
        has_port
            && (dials
                || texts(listener, "services")
                    .iter()
                    .any(|name| self.takes_service(name)))
    }

    fn takes_port(self, port: &Value) -> bool {
        let services = texts(port, "services");
        let is_asked =
            self.service.is_none() || services.iter().any(|name| self.takes_service(name));
        is_asked && self.port.is_none_or(|wanted| port["port"] == wanted)
    }
}

fn retain(value: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(Value::Array(items)) = value.get_mut(field) {
        items.retain(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_asked_for_stays() {
        let dump = json!({
            "destinations": [{"name": "demo/a:80"}, {"name": "demo/a:81"}, {"name": "other/b:80"}],
            "listeners": [
                {"address": "127.0.0.1:1080", "upstream": "a.demo:80"},
                {"address": "127.0.0.2:8080", "services": ["demo/c"]},
            ],
            "inbound": [{"ports": [{"port": 8080, "services": ["demo/c"]}]}],
        });
        let left = |service, port| {
            let mut dump = dump.clone();
            Only::new(service, port).apply(&mut dump);
            ["/destinations", "/listeners", "/inbound/0/ports"].map(|path| {
                dump.pointer(path)
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len)
            })
        };
        assert_eq!(left(None, None), [3, 2, 1]);
        assert_eq!(left(Some("a"), None), [2, 1, 0]);
        assert_eq!(left(Some("demo/a"), Some(80)), [1, 1, 0]);
        assert_eq!(left(Some("c"), None), [0, 1, 1]);
        assert_eq!(left(None, Some(8080)), [0, 1, 1]);
    }
}
