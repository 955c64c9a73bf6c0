//! What is seen of a request's answer and of its copy's, and how they differ.

use std::cell::RefCell;
use std::time::Instant;

use mesh_api::decide::mirror::{self, ContentHash, Seen};
use mesh_api::model::mirror::Mirroring;
use mesh_api::name::DestinationName;

use crate::context::Context;
use crate::h1::BodyPart;
use crate::telemetry::Mirrored;

/// What is seen of an answer.
pub(super) struct Answered {
    started: Instant,
    pub(super) head: Option<(u16, Instant)>,
    hash: Option<ContentHash>,
    pub(super) is_whole: bool,
}

/// A request's answer and its copy's, compared once both are there.
pub(super) struct Pair {
    pub(super) settings: Mirroring,
    pub(super) destination: DestinationName,
    pub(super) backend: DestinationName,
    pub(super) first: RefCell<[Option<Seen>; 2]>,
}

impl Pair {
    /// Notes what was seen on one side; compares where the other was seen before.
    pub(super) fn tell(&self, context: &Context, side: usize, seen: Seen) {
        let mut both = self.first.borrow_mut();
        if let Some(own) = both.get_mut(side) {
            *own = Some(seen);
        }
        let [Some(primary), Some(copy)] = &*both else {
            return;
        };
        for found in mirror::compare(&self.settings, primary, copy) {
            let event = Mirrored {
                destination: &self.destination,
                backend: &self.backend,
                outcome: found.result,
            };
            context.shared.telemetry().compared(&event, found.what);
        }
    }
}

impl Answered {
    pub(super) fn new(settings: &Mirroring) -> Self {
        Self {
            started: Instant::now(),
            head: None,
            hash: settings.body_hash.then(ContentHash::default),
            is_whole: false,
        }
    }

    pub(super) fn note(&mut self, part: &BodyPart) {
        if let (Some(hash), BodyPart::Data(bytes)) = (&mut self.hash, part) {
            hash.add(bytes);
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let whole = self.hash.filter(|_| self.is_whole);
        let end = self.head.map_or_else(Instant::now, |(_, at)| at);
        Seen {
            status: self.head.map(|(status, _)| status),
            latency: end - self.started,
            body: whole.map(ContentHash::value),
        }
    }
}
