//! Why a resource, an entry or a value was refused, and where.
//!
//! One text serves every door: `meshctl validate`, the status of a resource, a NACK and the webhook
//! all print the same [`Invalid`] values. May use nothing of this crate.

use std::fmt;

/// One fault of a resource or entry, at a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Invalid {
    /// Where: a field path such as `spec.rules[2].matches[0].path.value`; empty means the whole value.
    pub path: String,
    /// What is wrong and what would be right, as one sentence without a full stop.
    pub reason: String,
}

impl Invalid {
    /// A fault at `path`.
    pub fn new(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "{}: {}", self.path, self.reason)
        }
    }
}

impl std::error::Error for Invalid {}

/// Collects every fault of a resource while it is checked, with the path of the field in hand.
///
/// A checker goes on after a fault, so a user sees all of them at once.
#[derive(Debug, Default)]
pub struct Faults {
    path: Vec<String>,
    found: Vec<Invalid>,
}

impl Faults {
    /// Records a fault at the current path.
    pub fn refuse(&mut self, reason: impl Into<String>) {
        self.found.push(Invalid::new(self.path.concat(), reason));
    }

    /// Runs `check` with `.field` (or `field` at the root) appended to the path.
    pub fn field<T>(&mut self, field: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let segment = if self.path.is_empty() {
            field.to_owned()
        } else {
            format!(".{field}")
        };
        self.within(segment, check)
    }

    /// Runs `check` with `[index]` appended to the path.
    pub fn index<T>(&mut self, index: usize, check: impl FnOnce(&mut Self) -> T) -> T {
        self.within(format!("[{index}]"), check)
    }

    /// Takes the value of `result`, or records its error at the current path.
    pub fn take<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(error.to_string());
                None
            }
        }
    }

    /// The field path in hand.
    pub fn path(&self) -> String {
        self.path.concat()
    }

    /// True while nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Everything refused, in the order it was found.
    pub fn into_vec(self) -> Vec<Invalid> {
        self.found
    }

    fn within<T>(&mut self, segment: String, check: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(segment);
        let value = check(self);
        self.path.pop();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_carry_their_path() {
        let mut faults = Faults::default();
        faults.field("spec", |f| {
            f.field("rules", |f| {
                f.index(2, |f| f.field("path", |f| f.refuse("must start with /")));
            });
            f.refuse("is empty");
        });
        let texts: Vec<_> = faults.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["spec.rules[2].path: must start with /", "spec: is empty"]
        );
    }
}
