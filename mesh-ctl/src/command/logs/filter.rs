//! Which lines are printed.

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use crate::source::json::text;

/// Every condition that a line must meet.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) status: Option<Statuses>,
    pub(super) to: Option<String>,
    pub(super) path: Option<String>,
    pub(super) method: Option<String>,
    pub(super) direction: Option<&'static str>,
    pub(super) after: Option<Timestamp>,
}

impl Filter {
    /// True if it asks for something that only exchanges have.
    pub(super) fn is_of_exchanges(&self) -> bool {
        let texts = [&self.to, &self.path, &self.method];
        texts.iter().any(|text| text.is_some()) || self.status.is_some() || self.direction.is_some()
    }

    /// True if it takes this line of an access log.
    pub(super) fn takes(&self, exchange: &Value) -> bool {
        let is = |wanted: &Option<String>, field: &str| {
            wanted
                .as_ref()
                .is_none_or(|wanted| text(exchange, field).eq_ignore_ascii_case(wanted))
        };
        is(&self.method, "method")
            && self
                .direction
                .is_none_or(|wanted| text(exchange, "direction") == wanted)
            && self
                .status
                .as_ref()
                .is_none_or(|all| all.take(&exchange["status"]))
            && self
                .to
                .as_ref()
                .is_none_or(|to| is_destination(exchange, to))
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| is_like(text(exchange, "path"), pattern))
            && self.is_young(text(exchange, "time"))
    }

    /// True if `time` is late enough; what is no time passes.
    pub(super) fn is_young(&self, time: &str) -> bool {
        let time = time.parse::<Timestamp>().ok();
        self.after
            .is_none_or(|after| time.is_none_or(|time| time >= after))
    }
}

/// Ranges of statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statuses(Vec<(u64, u64)>);

impl Statuses {
    fn take(&self, status: &Value) -> bool {
        let status = status.as_u64().unwrap_or_default();
        self.0
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = |part: &str| {
            let part = part.trim().to_ascii_lowercase();
            let range = if let Some(class) = part.strip_suffix("xx") {
                class
                    .parse()
                    .ok()
                    .map(|class: u64| (class * 100, class * 100 + 99))
            } else if let Some((from, to)) = part.split_once('-') {
                from.parse().ok().zip(to.parse().ok())
            } else {
                part.parse().ok().map(|status| (status, status))
            };
            range
                .filter(|(from, to)| from <= to && *from >= 100 && *to <= 599)
                .ok_or_else(|| format!("{part:?} is no status (503, 5xx, 500-504)"))
        };
        Ok(Self(text.split(',').map(range).collect::<Result<_, _>>()?))
    }
}

/// True if a call went to `wanted`, as the caller's destination or as the backend chosen.
fn is_destination(exchange: &Value, wanted: &str) -> bool {
    let is = |name: &str| {
        let service = name.rsplit_once(':').map_or(name, |(service, _)| service);
        let bare = service.rsplit('/').next();
        name == wanted || service == wanted || bare == Some(wanted)
    };
    is(text(exchange, "destination")) || is(text(exchange, "backend"))
}

/// True if `text` is `pattern`, where `*` stands for any text.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return text == pattern;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    while let Some((piece, after)) = rest.split_once('*') {
        let Some((_, left)) = text.split_once(piece) else {
            return false;
        };
        (text, rest) = (left, after);
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_taken_by_every_condition() {
        let line = json!({
            "time": "2026-11-25T14:15:10.779Z", "direction": "outbound", "destination": "demo/catalog:80",
            "backend": "demo/catalog-v1:80", "method": "GET", "path": "/items/7/x", "status": 503,
        });
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter.takes(&line)
        };
        assert!(filter(|_| {}));
        assert!(filter(|f| f.status = "5xx".parse().ok()));
        assert!(!filter(|f| f.status = "2xx,404".parse().ok()));
        assert!(filter(|f| f.to = Some("catalog".into())));
        assert!(filter(|f| f.to = Some("demo/catalog-v1:80".into())));
        assert!(!filter(|f| f.to = Some("catalog-v2".into())));
        assert!(filter(|f| f.path = Some("/items/*".into())));
        assert!(filter(|f| f.path = Some("/*/7*x".into())));
        assert!(!filter(|f| f.path = Some("/items".into())));
        assert!(filter(|f| f.method = Some("get".into())));
        assert!(!filter(|f| f.direction = Some("inbound")));
        assert!(!filter(|f| f.after = "2026-11-25T14:15:11Z".parse().ok()));
        assert!(filter(|f| f.after = "2026-11-25T14:15:10Z".parse().ok()));
    }

    #[test]
    fn statuses_are_numbers_classes_and_ranges() {
        assert_eq!(
            "503,2xx, 400-404".parse(),
            Ok(Statuses(vec![(503, 503), (200, 299), (400, 404)]))
        );
        for bad in ["", "9xx", "600", "504-500", "abc"] {
            assert!(bad.parse::<Statuses>().is_err(), "{bad}");
        }
    }
}
