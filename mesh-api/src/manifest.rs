//! Manifests: YAML text to resources, with the place of every field.
//!
//! Each document stands by itself: a bad one loses nothing but itself. May use `error`, `name` and
//! `resource`; the text is given, no file is opened.

mod place;
mod render;

use std::sync::Arc;

use serde_saphyr::granit_parser::ScanError;

use crate::error::Invalid;
use crate::resource::{Kind, Resource, suggest};
use place::{Mark, Places};
pub use render::ManifestFault;

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most documents in a file.
pub const MAX_DOCUMENTS: usize = 4096;

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// Its good documents, in order.
    pub resources: Vec<Located>,
    /// What is wrong with the others.
    pub faults: Vec<ManifestFault>,
}

/// A resource with the places of its fields.
#[derive(Clone, Debug)]
pub struct Located {
    /// The resource.
    pub resource: Resource,
    source: Source,
    places: Arc<Places>,
}

impl Located {
    /// The line and column, from 1, of a field such as `spec.rules[0].matches`; of its nearest
    /// ancestor that is written if it is absent. `None` for an empty document only.
    pub fn locate(&self, path: &str) -> Option<(u32, u32)> {
        self.places
            .locate(path)
            .map(|mark| (mark.line, mark.column))
    }

    /// A fault of this resource with its file, line, column and the line's text.
    pub fn fault(&self, fault: &Invalid) -> ManifestFault {
        self.source
            .fault(&self.places, self.places.locate(&fault.path), fault)
    }

    /// The text of [`Located::fault`].
    pub fn render(&self, fault: &Invalid) -> String {
        self.fault(fault).to_string()
    }

    /// The file it was read from.
    pub fn file(&self) -> &str {
        &self.source.file
    }
}

/// A file's name and text.
#[derive(Clone, Debug)]
struct Source {
    file: Arc<str>,
    text: Arc<str>,
}

impl Source {
    fn fault(&self, places: &Places, mark: Option<Mark>, fault: &Invalid) -> ManifestFault {
        let mark = mark.unwrap_or(Mark { line: 1, column: 1 });
        let line = usize::try_from(mark.line).unwrap_or(1).saturating_sub(1);
        ManifestFault {
            file: self.file.to_string(),
            line: mark.line,
            column: mark.column,
            object: places.object(),
            path: fault.path.clone(),
            reason: fault.reason.clone(),
            snippet: self.text.lines().nth(line).unwrap_or_default().to_owned(),
        }
    }
}

/// Reads every document of a file; `file` names it in faults.
pub fn read(file: &str, text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let source = Source {
        file: file.into(),
        text: text.into(),
    };
    let refused = |line: u32, reason: String| {
        source.fault(
            &Places::default(),
            Some(Mark { line, column: 1 }),
            &Invalid::new("", reason),
        )
    };
    if text.len() > MAX_FILE_BYTES {
        manifest.faults.push(refused(
            1,
            format!("the file is over {MAX_FILE_BYTES} bytes"),
        ));
        return manifest;
    }
    for (count, (line, document)) in split(text).into_iter().enumerate() {
        if count >= MAX_DOCUMENTS {
            manifest.faults.push(refused(
                line,
                format!("the file has over {MAX_DOCUMENTS} documents"),
            ));
            break;
        }
        match read_document(&source, line, &document) {
            Ok(Some(located)) => manifest.resources.push(located),
            Ok(None) => {}
            Err(fault) => manifest.faults.push(*fault),
        }
    }
    manifest
}

/// The documents with their first lines. A line that starts with `---` or `...` ends a document
/// wherever it stands (YAML 1.2.2 section 9.1.2), so a syntax error cannot reach over it.
fn split(text: &str) -> Vec<(u32, String)> {
    let mut documents: Vec<(u32, String)> = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let marker = |mark: &str| {
            line.strip_prefix(mark)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if marker("---") {
            documents.push((number, String::new()));
        }
        if let Some((_, document)) = documents.last_mut()
            && !marker("...")
        {
            document.push_str(line);
        }
        if marker("...") {
            documents.push((number + 1, String::new()));
        }
    }
    documents.retain(|(_, document)| {
        let mut lines = document
            .lines()
            .map(|line| line.strip_prefix("---").unwrap_or(line).trim());
        lines.any(|line| !line.is_empty() && !line.starts_with('#'))
    });
    documents
}

fn read_document(
    source: &Source,
    first: u32,
    text: &str,
) -> Result<Option<Located>, Box<ManifestFault>> {
    let places =
        place::walk(text, first).map_err(|error| Box::new(syntax(source, first, &error)))?;
    if places.is_empty() {
        return Ok(None);
    }
    let refuse =
        |fault: &Invalid| Box::new(source.fault(&places, places.locate(&fault.path), fault));
    if let Some(fault) = places.excess() {
        return Err(refuse(&fault));
    }
    let kind =
        Kind::of(places.text("apiVersion"), places.text("kind")).map_err(|fault| refuse(&fault))?;
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
            max_alias_expansions_per_anchor: 100,
        },
    };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |from| {
        Resource::read(kind, from)
    });
    let resource = read.map_err(|error| {
        let mark = error
            .location()
            .map(|location| Mark::within(first, location.line(), location.column()));
        let (path, mark) = match mark {
            Some(mark) => (places.path_at(mark), Some(mark)),
            None => (String::new(), places.locate("")),
        };
        Box::new(source.fault(&places, mark, &Invalid::new(path, reason(&error))))
    })?;
    resource.key().map_err(|fault| refuse(&fault))?;
    Ok(Some(Located {
        resource,
        source: source.clone(),
        places: Arc::new(places),
    }))
}

fn syntax(source: &Source, first: u32, error: &ScanError) -> ManifestFault {
    let marker = error.marker();
    let line = u64::try_from(marker.line()).unwrap_or(1);
    let column = u64::try_from(marker.col()).unwrap_or(0) + 1;
    let mark = Mark::within(first, line, column);
    source.fault(
        &Places::default(),
        Some(mark),
        &Invalid::new("", format!("not YAML: {}", error.info())),
    )
}

/// A type error in one line, without the place that is told beside it.
fn reason(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown("field", field, expected),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown("value", variant, expected),
        Error::SerdeMissingField { field, .. } => format!("the field {field:?} is missing"),
        other => {
            let text = other.to_string().replace('\n', " ");
            let text = text.split(" at line ").next().unwrap_or_default();
            suggest(text)
        }
    }
}

fn unknown(what: &str, given: &str, expected: &[&'static str]) -> String {
    let given: String = given.chars().take(80).collect();
    match crate::resource::nearest(&given, expected) {
        Some(near) => format!("unknown {what} {given:?}; did you mean {near:?}?"),
        None => format!(
            "unknown {what} {given:?}; known are {}",
            expected.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
