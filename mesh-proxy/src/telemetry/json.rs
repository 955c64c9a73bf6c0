//! JSON text by hand, for lines written per exchange.

use std::fmt::Write;

/// Appends `text` as a JSON string with quotes (RFC 8259 section 7).
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // DEL and the C1 controls too: a log line is read on terminals.
            c if c.is_control() => push(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes one object, field by field.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Object<'o> {
    /// Opens an object at the end of `out`.
    pub fn open(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, first: true }
    }

    /// A text field.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        push_string(self.out, value);
    }

    /// A text field made by `Display`; the text must need no escapes.
    pub fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        push(self.out, format_args!("\"{value}\""));
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        push(self.out, format_args!("{value}"));
    }

    /// Closes it.
    pub fn close(self) {
        self.out.push('}');
    }

    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }
}

/// Formats onto `out`.
pub fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    #[expect(
        clippy::let_underscore_must_use,
        reason = "writing to a String cannot fail"
    )]
    let _ = out.write_fmt(arguments);
}
