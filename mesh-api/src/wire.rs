//! Wire messages (prost) and their conversion to and from the model.
//!
//! Equal entries encode to equal bytes, so that the version (a hash of them) is the same on every
//! replica. Decoding checks everything again: what comes in may be hostile. May use `model` and `name`.

pub mod features;
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated from proto/mesh.proto")]
#[rustfmt::skip]
pub mod generated;

mod address;
mod affinity;
mod authorization;
mod backend;
mod breaker;
mod conditions;
mod connection;
mod destination;
mod extension;
mod fault;
mod health;
mod inbound;
mod locality;
mod mesh;
mod mirror;
mod outlier;
mod policy;
mod ratelimit;
mod read;
mod route;

use prost::Message;

use crate::error::{Faults, Invalid};
use crate::model::entry::{Entry, EntryName, Version};

/// An entry as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What it is subscribed by.
    pub name: EntryName,
    /// The hash of `bytes`.
    pub version: Version,
    /// An encoded `mesh.v1.Entry`.
    pub bytes: Vec<u8>,
    /// What a proxy must know to take it, sorted.
    pub features: Vec<String>,
}

/// Encodes an entry.
pub fn encode(entry: &Entry) -> Encoded {
    let kind = match entry {
        Entry::Destination(from) => generated::entry::Kind::Destination(destination::write(from)),
        Entry::Inbound(from) => generated::entry::Kind::Inbound(inbound::write(from)),
        Entry::Mesh(from) => generated::entry::Kind::Mesh(mesh::write(from)),
        Entry::Address(from) => generated::entry::Kind::Address(address::write(from)),
    };
    let bytes = generated::Entry { kind: Some(kind) }.encode_to_vec();
    Encoded {
        name: entry.name(),
        version: Version::of(&bytes),
        bytes,
        features: features::features_needed(entry),
    }
}

/// Decodes the entry `name`.
///
/// # Errors
/// Every fault with the path of its field, up to [`MAX_FAULTS`]; also where the content is of another
/// name than `name`.
pub fn decode(name: &EntryName, bytes: &[u8]) -> Result<Entry, Vec<Invalid>> {
    if bytes.len() > MAX_ENTRY_BYTES {
        let reason = format!("has {} bytes, more than {MAX_ENTRY_BYTES}", bytes.len());
        return Err(vec![Invalid::new("", reason)]);
    }
    let message = generated::Entry::decode(bytes)
        .map_err(|error| vec![Invalid::new("", format!("is not an entry: {error}"))])?;
    let mut faults = Faults::default();
    let entry = match &message.kind {
        Some(generated::entry::Kind::Destination(from)) => {
            destination::read(from, &mut faults).map(Entry::Destination)
        }
        Some(generated::entry::Kind::Inbound(from)) => {
            inbound::read(from, &mut faults).map(Entry::Inbound)
        }
        Some(generated::entry::Kind::Mesh(from)) => mesh::read(from, &mut faults).map(Entry::Mesh),
        Some(generated::entry::Kind::Address(from)) => {
            address::read(from, &mut faults).map(Entry::Address)
        }
        None => {
            faults.refuse("is of a kind this build does not know");
            None
        }
    };
    if let Some(entry) = &entry
        && entry.name() != *name
    {
        faults.refuse(format!("holds {}, not {name}", entry.name()));
    }
    match entry {
        Some(entry) if faults.is_empty() => Ok(entry),
        _ => {
            let mut faults = faults.into_vec();
            faults.truncate(MAX_FAULTS);
            Err(faults)
        }
    }
}

/// Largest encoded entry.
pub const MAX_ENTRY_BYTES: usize = 16 * 1024 * 1024;

/// Most faults reported of one entry.
pub const MAX_FAULTS: usize = 100;

#[cfg(test)]
mod tests;
