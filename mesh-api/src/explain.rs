//! How a decision tells what it did: a recorder takes notes that cost nothing where nobody reads them.
//!
//! May use nothing of this crate; the text for people is made in `decide::explanation`.

use std::fmt;

use serde::Serialize;

/// Takes notes during a decision.
pub trait Recorder {
    /// Takes the note that `note` makes; a silent recorder does not call it.
    fn note(&mut self, note: &dyn Fn() -> Note);

    /// True if it never takes one: what decides nothing may be left out.
    fn is_silent(&self) -> bool {
        false
    }
}

/// Takes no notes: the recorder of the request path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Recorder for Silent {
    fn note(&mut self, _note: &dyn Fn() -> Note) {}

    fn is_silent(&self) -> bool {
        true
    }
}

/// Keeps every note in order.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The notes so far.
    pub notes: Vec<Note>,
}

impl Recorder for Trace {
    fn note(&mut self, note: &dyn Fn() -> Note) {
        self.notes.push(note());
    }
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A match of a rule did not fit.
    Missed {
        /// Its place in the order of precedence.
        place: usize,
        /// The first condition that failed.
        miss: Miss,
    },
    /// A match of a rule fitted: its rule is the one.
    Matched {
        /// Its place in the order of precedence.
        place: usize,
    },
    /// A backend was chosen by weight.
    Chose {
        /// The backend, or the reason why it is broken.
        backend: String,
    },
}

/// A condition that a request does not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Miss {
    /// `path`, `method`, `header x-user`, `query page`.
    pub condition: String,
    /// What it asks for: `exact /items`.
    pub expected: String,
    /// What the request has; `None` if it has nothing of the kind.
    pub got: Option<String>,
}

impl Miss {
    /// Of a condition that is not there to be shown.
    pub fn unknown() -> Self {
        Self {
            condition: "a condition".into(),
            expected: "unknown".into(),
            got: None,
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            condition,
            expected,
            got,
        } = self;
        match got {
            Some(got) => write!(f, "{condition} is {got:?}, not {expected}"),
            None => write!(f, "{condition} is absent, not {expected}"),
        }
    }
}
