//! One line of a log, for people.

use serde_json::Value;

use crate::render::Tone;
use crate::source::json::{text, text_or_dash};

/// A line of an access log: when, which way, what came of it, what was asked, where it went.
pub(super) fn exchange(line: &Value) -> String {
    let status = line["status"].as_u64().unwrap_or_default();
    let tone = match status {
        500.. => Tone::Bad,
        400..=499 => Tone::Warning,
        _ => Tone::Good,
    };
    let mut words = vec![
        Tone::Faint.paint(text(line, "time")),
        format!("{:8}", text(line, "direction")),
        tone.paint(&status.to_string()),
        text(line, "method").to_owned(),
        format!("{}{}", text(line, "host"), text(line, "path")),
        format!("-> {}", text_or_dash(line, "destination")),
    ];
    let backend = text(line, "backend");
    if !backend.is_empty() && backend != text(line, "destination") {
        words.push(format!("by {backend}"));
    }
    for (field, word) in [("endpoint", "at"), ("peer", "from")] {
        if let Some(value) = line[field].as_str() {
            words.push(format!("{word} {value}"));
        }
    }
    words.push(format!("{}ms", line["durationMs"]));
    if let Some(attempts) = line["attempts"].as_u64().filter(|count| *count > 1) {
        words.push(format!("{attempts} attempts"));
    }
    if let Some(reason) = line["reason"].as_str() {
        words.push(tone.paint(reason));
    }
    words.join(" ")
}

/// The time that a log line begins with, past escape codes.
pub(super) fn time_of(line: &str) -> &str {
    let mut rest = line;
    while let Some(code) = rest.strip_prefix('\u{1b}') {
        let end = code.find('m').map_or(code.len(), |end| end + 1);
        rest = code.get(end..).unwrap_or_default();
    }
    let end = rest.find([' ', '\u{1b}']).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_exchange_reads_as_a_sentence() {
        let line = json!({
            "time": "2026-11-25T14:15:10.779Z", "direction": "outbound", "destination": "demo/a:80",
            "backend": "demo/a-v1:80", "method": "GET", "host": "a", "path": "/x", "status": 200,
            "attempts": 2, "durationMs": 2.5, "reason": "late",
        });
        let text = anstream::adapter::strip_str(&exchange(&line)).to_string();
        assert_eq!(
            text,
            "2026-11-25T14:15:10.779Z outbound 200 GET a/x -> demo/a:80 by demo/a-v1:80 2.5ms 2 attempts late"
        );
    }

    #[test]
    fn times_are_found_behind_colours() {
        assert_eq!(
            time_of("\u{1b}[2m2026-11-25T14:15:10Z\u{1b}[0m INFO"),
            "2026-11-25T14:15:10Z"
        );
        assert_eq!(time_of("plain text"), "plain");
    }
}
