//! Where a value comes from, so that `explain` can name the field that set it.

use std::fmt;

use crate::name::ObjectName;

/// The field that set a value, or the built-in default.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// The table of defaults.
    #[default]
    Default,
    /// A field of an object.
    Field {
        /// The object's kind, `TrafficPolicy`.
        kind: String,
        /// The object. The Mesh, which has no namespace, is given as `mesh/default`.
        object: ObjectName,
        /// The field, `spec.timeout.request`.
        path: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Field { kind, object, path } => write!(f, "{kind} {object} {path}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sourced<T> {
    /// The value in force.
    pub value: T,
    /// Who set it.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// A value of the table of defaults.
    pub fn default_value(value: T) -> Self {
        Self {
            value,
            origin: Origin::Default,
        }
    }

    /// A value set by `origin`.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}
