//! Transparent capture: the kernel's rules that redirect connections to the proxy, where each was
//! going, and the check that the rules are there.
//!
//! Only TCP is captured; everything else goes past the proxy. May use nothing of this crate.

mod check;
mod nft;
mod original;
mod rules;

pub use check::{Check, NotRedirected};
pub use nft::{NftError, apply, apply_in};
pub use original::original_destination;
pub use rules::{Rules, removal};
