//! The places of a document's fields, from the events of the YAML parser.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Parser, ScanError, Span};

use crate::error::Invalid;

/// Deepest nesting of a document.
const MAX_DEPTH: usize = 64;
/// Most fields and items of a document.
const MAX_FIELDS: usize = 50_000;
/// Most aliases (`*name`) of a document.
const MAX_ALIASES: usize = 100;

/// A place in a file, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Mark {
    /// A place in a document that starts at the line `first` of its file.
    pub(super) fn within(first: u32, line: u64, column: u64) -> Self {
        let line = u32::try_from(line.max(1) - 1).unwrap_or(u32::MAX);
        Self {
            line: first.saturating_add(line),
            column: u32::try_from(column.max(1)).unwrap_or(1),
        }
    }
}

/// Fields by path and by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    by_path: BTreeMap<String, Mark>,
    by_mark: BTreeMap<Mark, String>,
    head: BTreeMap<String, String>,
    excess: Option<&'static str>,
}

impl Places {
    /// True if nothing is written.
    pub(super) fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// The document breaks a limit.
    pub(super) fn excess(&self) -> Option<Invalid> {
        self.excess.map(|reason| Invalid::new("", reason))
    }

    /// Where a field or its nearest ancestor is written.
    pub(super) fn locate(&self, path: &str) -> Option<Mark> {
        let mut path = path;
        loop {
            if let Some(mark) = self.by_path.get(path) {
                return Some(*mark);
            }
            path = match path.rfind(['.', '[']) {
                Some(end) => path.get(..end)?,
                None if path.is_empty() => return None,
                None => "",
            };
        }
    }

    /// The field that is written at a place, or the last before it.
    pub(super) fn path_at(&self, mark: Mark) -> String {
        self.by_mark
            .range(..=mark)
            .next_back()
            .map(|(_, path)| path.clone())
            .unwrap_or_default()
    }

    /// The text of `apiVersion`, `kind`, `metadata.name` or `metadata.namespace`; empty if absent.
    pub(super) fn text(&self, path: &str) -> &str {
        self.head.get(path).map_or("", String::as_str)
    }

    /// `Kind namespace/name`, as far as the document says.
    pub(super) fn object(&self) -> Option<String> {
        let (kind, name) = (self.text("kind"), self.text("metadata.name"));
        if kind.is_empty() || name.is_empty() {
            return None;
        }
        let namespace = match self.text("metadata.namespace") {
            _ if matches!(kind, "Mesh" | "Namespace") => String::new(),
            "" => "default/".to_owned(),
            given => format!("{given}/"),
        };
        Some(
            format!("{kind} {namespace}{name}")
                .chars()
                .take(400)
                .collect(),
        )
    }

    fn note(&mut self, path: &str, mark: Mark) {
        self.by_path.entry(path.to_owned()).or_insert(mark);
        self.by_mark.insert(mark, path.to_owned());
    }
}

/// A mapping or sequence that is open.
enum Open {
    Mapping { path: String, key: Option<String> },
    Sequence { path: String, next: usize },
}

/// Walks a document that starts at the line `first` of its file.
pub(super) fn walk(text: &str, first: u32) -> Result<Places, ScanError> {
    let mut walk = Walk {
        places: Places::default(),
        open: Vec::new(),
        aliases: 0,
    };
    for next in Parser::new_from_str(text) {
        let (event, span) = next?;
        walk.take(&event, mark_of(span, first));
        if walk.places.excess.is_some() {
            break;
        }
    }
    Ok(walk.places)
}

fn mark_of(span: Span, first: u32) -> Mark {
    let line = u64::try_from(span.start.line()).unwrap_or(1);
    Mark::within(
        first,
        line,
        u64::try_from(span.start.col()).unwrap_or(0) + 1,
    )
}

struct Walk {
    places: Places,
    open: Vec<Open>,
    aliases: usize,
}

impl Walk {
    fn take(&mut self, event: &Event<'_>, mark: Mark) {
        match event {
            Event::Scalar(text, ..) => self.scalar(text, mark),
            Event::Alias(_) => {
                self.aliases += 1;
                self.scalar("", mark);
                if self.aliases > MAX_ALIASES {
                    self.places.excess = Some("the document has too many aliases (at most 100)");
                }
            }
            Event::SequenceStart(..) => {
                let path = self.node(mark);
                self.enter(Open::Sequence { path, next: 0 });
            }
            Event::MappingStart(..) => {
                let path = self.node(mark);
                self.enter(Open::Mapping { path, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => drop(self.open.pop()),
            _ => {}
        }
    }

    fn enter(&mut self, open: Open) {
        self.open.push(open);
        if self.open.len() > MAX_DEPTH {
            self.places.excess = Some("the document is nested too deep (at most 64)");
        }
        if self.places.by_path.len() > MAX_FIELDS {
            self.places.excess = Some("the document has too many fields (at most 50000)");
        }
    }

    /// A scalar: a key where one is due, else a value.
    fn scalar(&mut self, text: &str, mark: Mark) {
        if let Some(Open::Mapping {
            path,
            key: key @ None,
        }) = self.open.last_mut()
        {
            let shown: String = text.chars().take(256).collect();
            let child = if path.is_empty() {
                shown
            } else {
                format!("{path}.{shown}")
            };
            self.places.note(&child, mark);
            *key = Some(child);
            return;
        }
        let path = self.node(mark);
        if matches!(
            path.as_str(),
            "apiVersion" | "kind" | "metadata.name" | "metadata.namespace"
        ) {
            self.places
                .head
                .insert(path, text.chars().take(256).collect());
        }
    }

    /// A value starts: notes its place and says its path.
    fn node(&mut self, mark: Mark) -> String {
        let path = match self.open.last_mut() {
            None => String::new(),
            Some(Open::Mapping { key, .. }) => key.take().unwrap_or_default(),
            Some(Open::Sequence { path, next }) => {
                let item = format!("{path}[{next}]");
                *next += 1;
                item
            }
        };
        self.places.note(&path, mark);
        path
    }
}
