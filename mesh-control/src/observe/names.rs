//! Names and labels of every metric of the control plane, as constants: the reference is made from
//! them. May use nothing of this crate.

/// What a sample means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// A current value.
    Gauge,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric {
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

const fn metric(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        kind,
        name,
        labels,
        help,
    }
}

/// Whole lists.
pub(super) const WATCH_LISTS: Metric = metric(
    Kind::Counter,
    "mesh_control_watch_lists_total",
    &["watch"],
    "Whole lists that the API server gave, by kind.",
);
/// Watches that cannot go on.
pub(super) const WATCH_FAILING: Metric = metric(
    Kind::Gauge,
    "mesh_control_watch_failing",
    &["watch"],
    "1 while the watch of a kind cannot go on.",
);
/// Proxies.
pub(super) const PROXIES: Metric = metric(
    Kind::Gauge,
    "mesh_control_proxies",
    &["state"],
    "Proxies by how they stand: SYNCED, STALE, NACKED, DISCONNECTED.",
);
/// Resources that are refused.
pub(super) const RESOURCES_REFUSED: Metric = metric(
    Kind::Gauge,
    "mesh_control_resources_refused",
    &[],
    "Resources that are refused as they stand.",
);
/// Exceptions from strict mutual TLS.
pub(super) const EXCEPTIONS_OVERDUE: Metric = metric(
    Kind::Gauge,
    "mesh_control_exceptions_overdue",
    &[],
    "MutualTLSPolicies of which an `until` has passed, of the whole or of a port.",
);

impl Metric {
    /// What precedes its samples.
    pub(super) fn head(&self) -> String {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let Self { name, help, .. } = self;
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
    }

    /// A sample; `values` are those of its labels, in order.
    pub(super) fn sample(&self, values: &[&str], value: impl std::fmt::Display) -> String {
        let pairs = self.labels.iter().zip(values);
        let pairs: Vec<String> = pairs
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let labels = if pairs.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", pairs.join(","))
        };
        format!("{}{labels} {value}\n", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_text_of_prometheus() {
        let sample = WATCH_LISTS.sample(&["Service"], 2);
        assert_eq!(
            sample,
            "mesh_control_watch_lists_total{watch=\"Service\"} 2\n"
        );
        assert_eq!(
            RESOURCES_REFUSED.sample(&[], 0),
            "mesh_control_resources_refused 0\n"
        );
        assert!(
            PROXIES
                .head()
                .ends_with("# TYPE mesh_control_proxies gauge\n")
        );
    }
}
