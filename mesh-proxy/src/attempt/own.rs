//! Fields that the mesh adds to the head of a try, and those of the client's that they stand for.
//!
//! Nothing is allocated: they are few, and their values short.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mesh_api::decide::attempt_count;
use mesh_api::decide::deadline::{self, Telling};

use super::{Plan, Tries};
use crate::h1::{RequestHead, Version};

/// Most fields of either kind.
const MOST: usize = 5;

/// The values of what is told, for as long as the head is written.
#[derive(Default)]
pub(super) struct Words {
    /// Of the field that tells of a deadline.
    deadline: Option<(Telling, deadline::Text)>,
    /// Of [`attempt_count::FIELD`].
    attempt: Option<(itoa::Buffer, u32)>,
}

impl Words {
    /// What the try that begins now has to tell.
    pub(super) fn new(plan: &Plan<'_>, tries: &Tries) -> Self {
        let number = attempt_count::sent_on(tries.earlier, tries.arrived);
        Self {
            deadline: plan.told.map(|(until, telling)| {
                let left = until.saturating_duration_since(Instant::now());
                let text = match telling {
                    Telling::Grpc | Telling::Left => deadline::sent_on(left),
                    Telling::Stamp => deadline::stamp(left, since_epoch()),
                };
                (telling, text)
            }),
            attempt: number.map(|number| (itoa::Buffer::new(), number)),
        }
    }
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The fields.
pub(super) struct Own<'w> {
    append: [(&'w str, &'w str); MOST],
    appended: usize,
    strip: [&'static str; MOST],
    stripped: usize,
}

impl<'w> Own<'w> {
    /// What goes with `head`.
    pub(super) fn new(head: &'w RequestHead, words: &'w mut Words) -> Self {
        let mut own = Self {
            append: [("", ""); MOST],
            appended: 0,
            strip: [""; MOST],
            stripped: 0,
        };
        own.drop("mesh-error");
        if head.version() == Version::Http10 {
            own.drop("expect");
        }
        // The endpoint is asked to go on with another protocol where the client asks.
        if let Some(Ok(protocol)) = head.upgrade().map(std::str::from_utf8) {
            own.add("connection", "upgrade");
            own.add("upgrade", protocol);
        }
        if let Some((telling, text)) = &words.deadline {
            // One of them tells: an app behind a call has its library for the other.
            own.drop(deadline::FIELD);
            match telling {
                Telling::Grpc => own.replace("grpc-timeout", text.as_str()),
                Telling::Left | Telling::Stamp => own.add(deadline::FIELD, text.as_str()),
            }
        }
        if let Some((digits, number)) = &mut words.attempt {
            own.replace(attempt_count::FIELD, digits.format(*number));
        }
        own
    }

    /// Fields to add.
    pub(super) fn append(&self) -> &[(&'w str, &'w str)] {
        self.append.get(..self.appended).unwrap_or_default()
    }

    /// Names of fields that do not go on.
    pub(super) fn strip(&self) -> &[&'static str] {
        self.strip.get(..self.stripped).unwrap_or_default()
    }

    fn replace(&mut self, name: &'static str, value: &'w str) {
        self.drop(name);
        self.add(name, value);
    }

    fn add(&mut self, name: &'w str, value: &'w str) {
        if let Some(place) = self.append.get_mut(self.appended) {
            *place = (name, value);
            self.appended += 1;
        }
    }

    fn drop(&mut self, name: &'static str) {
        if let Some(place) = self.strip.get_mut(self.stripped) {
            *place = name;
            self.stripped += 1;
        }
    }
}
