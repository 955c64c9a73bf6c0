//! The first day under strict mutual TLS: what an adopted mesh would break, found before it breaks.
//!
//! Pure readings of listed objects. Each finding names what breaks, why, and the least that mends it.
//! May use `source::json` alone.

mod bypass;
mod declared;
mod entry;
mod objects;
mod outside;
mod policy;
mod scrape;
mod webhook;

#[cfg(test)]
mod tests;

pub(crate) use bypass::{host_network, started_before};
pub(crate) use declared::HOLDERS;
pub(crate) use entry::entries;
pub(crate) use objects::Objects;
pub(crate) use outside::outsiders;
pub(crate) use policy::network_policies;
pub(crate) use scrape::scrapes;
pub(crate) use webhook::webhooks;

/// Something that works today and would not under strict mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breakage {
    /// What breaks.
    pub(crate) what: String,
    /// Why.
    pub(crate) cause: String,
    /// The least that mends it.
    pub(crate) fix: String,
}

impl Breakage {
    /// Three lines for people, each with this before it.
    pub(crate) fn text(&self, indent: &str) -> String {
        let Self { what, cause, fix } = self;
        format!("{indent}{what}\n{indent}  cause: {cause}\n{indent}  fix:   {fix}")
    }
}
