//! Pods as a person names them. May use nothing of this crate.

/// A pod, or whatever has pods, as written on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its namespace, where it is said.
    pub(crate) namespace: Option<String>,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: String,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A pod.
    Pod,
    /// A Deployment: any of its pods.
    Deployment,
    /// A StatefulSet: its first pod.
    StatefulSet,
    /// A DaemonSet: any of its pods.
    DaemonSet,
}

impl Wanted {
    /// Reads `deploy/x`, `pod/x`, `sts/x`, `ds/x`, each with `.namespace` or without, and
    /// `x.namespace`; `None` for anything else, such as `namespace/name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = match text.split_once('/') {
            Some((kind, rest)) => (kind_of(kind)?, rest),
            None => (Kind::Pod, text),
        };
        let (name, namespace) = match rest.rsplit_once('.') {
            Some((name, namespace)) => (name, Some(namespace.to_owned())),
            None => (rest, None),
        };
        if text == name {
            return None;
        }
        Some(Self {
            namespace,
            kind,
            name: name.to_owned(),
        })
    }

    /// True if a pod of this name in this namespace is meant.
    pub(crate) fn takes(&self, namespace: &str, pod: &str) -> bool {
        if self
            .namespace
            .as_deref()
            .is_some_and(|wanted| wanted != namespace)
        {
            return false;
        }
        match self.kind {
            Kind::Pod => pod == self.name,
            Kind::StatefulSet => pod == format!("{}-0", self.name),
            // `shop-7c9f8d6b5-x2x4z`: a ReplicaSet's hash, then the pod's own.
            Kind::Deployment => after(pod, &self.name).is_some_and(|rest| {
                rest.split_once('-')
                    .is_some_and(|(set, own)| is_hash(set) && is_hash(own))
            }),
            Kind::DaemonSet => after(pod, &self.name).is_some_and(is_hash),
        }
    }
}

fn after<'a>(pod: &'a str, name: &str) -> Option<&'a str> {
    pod.strip_prefix(name)?.strip_prefix('-')
}

/// Letters and digits that Kubernetes makes names unique with: no vowels, so no words.
fn is_hash(text: &str) -> bool {
    let is_inside = |byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte);
    (1..=10).contains(&text.len()) && text.bytes().all(is_inside)
}

fn kind_of(text: &str) -> Option<Kind> {
    match text {
        "pod" | "pods" | "po" => Some(Kind::Pod),
        "deploy" | "deployment" | "deployments" => Some(Kind::Deployment),
        "sts" | "statefulset" | "statefulsets" => Some(Kind::StatefulSet),
        "ds" | "daemonset" | "daemonsets" => Some(Kind::DaemonSet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_found_by_what_they_belong_to() {
        for (text, pod, expected) in [
            ("deploy/shop", "demo/shop-7c9f8d6b5-x2x4z", true),
            ("deploy/shop.demo", "demo/shop-7c9f8d6b5-x2x4z", true),
            ("deploy/shop.other", "demo/shop-7c9f8d6b5-x2x4z", false),
            ("deploy/shop", "demo/shop-front-7c9f8d6b5-x2x4z", false),
            ("sts/db", "demo/db-0", true),
            ("sts/db", "demo/db-1", false),
            ("ds/agent", "demo/agent-x2x4z", true),
            ("pod/a", "demo/a", true),
            ("a.demo", "demo/a", true),
            ("a.b.demo", "demo/a.b", true),
            ("a.demo", "other/a", false),
        ] {
            let (namespace, name) = pod.split_once('/').unwrap();
            let wanted = Wanted::parse(text).unwrap();
            assert_eq!(wanted.takes(namespace, name), expected, "{text} {pod}");
        }
        for text in ["demo/shop", "shop"] {
            assert_eq!(Wanted::parse(text), None, "{text}");
        }
    }
}
