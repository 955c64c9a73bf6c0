//! Which objects: by namespace, name and labels.

use std::str::FromStr;

use mesh_api::name::Namespace;
use serde_json::Value;

use crate::source::json::text;

/// A condition on labels: `app=shop`, `version!=v1`, `app`, `!app`; all of a list must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Equal(String, String),
    Unequal(String, String),
    Present(String),
    Absent(String),
}

impl Selector {
    /// True if the labels of `object` fulfil it.
    pub(crate) fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object["labels"][key].as_str();
        self.terms.iter().all(|term| match term {
            Term::Equal(key, value) => label(key) == Some(value),
            Term::Unequal(key, value) => label(key) != Some(value),
            Term::Present(key) => label(key).is_some(),
            Term::Absent(key) => label(key).is_none(),
        })
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let term = |text: &str| {
            let text = text.trim();
            let pair = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
            let term = if let Some((key, value)) = text.split_once("!=") {
                let (key, value) = pair(key, value);
                Term::Unequal(key, value)
            } else if let Some((key, value)) =
                text.split_once("==").or_else(|| text.split_once('='))
            {
                let (key, value) = pair(key, value);
                Term::Equal(key, value)
            } else if let Some(key) = text.strip_prefix('!') {
                Term::Absent(key.to_owned())
            } else {
                Term::Present(text.to_owned())
            };
            let (Term::Equal(key, _)
            | Term::Unequal(key, _)
            | Term::Present(key)
            | Term::Absent(key)) = &term;
            if key.is_empty() {
                return Err(format!(
                    "{text:?} names no label (KEY=VALUE, KEY!=VALUE, KEY, !KEY)"
                ));
            }
            Ok(term)
        };
        let terms = text.split(',').map(term).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }
}

/// True if `object` is in `namespace`, where one is given; what has none is in every one.
pub(crate) fn is_in(object: &Value, namespace: Option<&Namespace>) -> bool {
    namespace.is_none_or(|wanted| match text(object, "namespace") {
        "" => true,
        own => own == wanted.as_str(),
    })
}

/// True if `object` has this name, `name` or `namespace/name`.
pub(crate) fn is_named(object: &Value, name: &str) -> bool {
    let (own, namespace) = (text(object, "name"), text(object, "namespace"));
    match name.split_once('/') {
        Some(full) => full == (namespace, own),
        None => own == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_select() {
        let object = json!({ "labels": { "app": "shop", "version": "v1" } });
        for (selector, expected) in [
            ("app=shop", true),
            ("app==shop,version!=v2", true),
            ("app = shop , version", true),
            ("app=other", false),
            ("!app", false),
            ("!tier,tier!=x", true),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.selects(&object), expected, "{selector}");
        }
        for bad in ["", "=x", "a,,b", "!"] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }
}
