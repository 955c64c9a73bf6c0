//! Entries there and back, and noise.
