//! Words for kinds: singular, plural, short, and groups of several.

use anyhow::bail;
use mesh_api::resource::{Kind, nearest};

/// Words with a meaning of their own, beside every kind's name, its plural and its short forms.
const GROUPS: [&str; 3] = ["resources", "routes", "policies"];

/// Short forms, as `kubectl` has them.
const SHORT: [(&str, &str); 9] = [
    ("ns", "Namespace"),
    ("svc", "Service"),
    ("wl", "Workload"),
    ("hr", "HTTPRoute"),
    ("gr", "GRPCRoute"),
    ("tr", "TCPRoute"),
    ("tp", "TrafficPolicy"),
    ("mtls", "MutualTLSPolicy"),
    ("eps", "EndpointSlice"),
];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Everything.
    All,
    /// Kinds whose name ends so: `Route`, `Policy`.
    Ending(&'static str),
    /// One kind.
    One(Kind),
}

impl Kinds {
    /// True if objects of this kind are asked for.
    pub(crate) fn takes(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Ending(ending) => kind.ends_with(ending),
            Self::One(one) => one.as_str() == kind,
        }
    }
}

/// What a word means, in any case.
///
/// # Errors
/// A word that means nothing here, with the nearest that does.
pub(crate) fn parse(word: &str) -> anyhow::Result<Kinds> {
    let lower = word.to_ascii_lowercase();
    match lower.as_str() {
        "resources" | "all" => return Ok(Kinds::All),
        "routes" => return Ok(Kinds::Ending("Route")),
        "policies" => return Ok(Kinds::Ending("Policy")),
        _ => {}
    }
    let short = SHORT.iter().find(|(short, _)| *short == lower);
    let name = short.map_or(lower.as_str(), |(_, kind)| kind);
    let is_named = |kind: &Kind| {
        let own = kind.as_str();
        own.eq_ignore_ascii_case(name) || plural(own).eq_ignore_ascii_case(name)
    };
    if let Some(kind) = Kind::ALL.into_iter().find(is_named) {
        return Ok(Kinds::One(kind));
    }
    let words: Vec<&str> = words().collect();
    match nearest(word, &words) {
        Some(near) => bail!("{word:?} is no kind; did you mean {near}?"),
        None => bail!("{word:?} is no kind; there are {}", words.join(", ")),
    }
}

/// Every word in its usual form.
pub(crate) fn words() -> impl Iterator<Item = &'static str> {
    GROUPS
        .into_iter()
        .chain(Kind::ALL.iter().map(|kind| kind.as_str()))
}

fn plural(kind: &str) -> String {
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') || kind.ends_with("sh") => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_many_names() {
        for (word, expected) in [
            ("services", Kinds::One(Kind::Service)),
            ("svc", Kinds::One(Kind::Service)),
            ("httproutes", Kinds::One(Kind::HTTPRoute)),
            ("trafficpolicies", Kinds::One(Kind::TrafficPolicy)),
            ("Mesh", Kinds::One(Kind::Mesh)),
            ("meshes", Kinds::One(Kind::Mesh)),
            ("routes", Kinds::Ending("Route")),
            ("all", Kinds::All),
        ] {
            assert_eq!(parse(word).unwrap(), expected, "{word}");
        }
        let text = parse("HTPRoute").unwrap_err().to_string();
        assert_eq!(text, "\"HTPRoute\" is no kind; did you mean HTTPRoute?");
        assert!(
            parse("zzzzzzzzzzz")
                .unwrap_err()
                .to_string()
                .contains("there are")
        );
    }
}
