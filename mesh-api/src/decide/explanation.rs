//! The whole story of a decision.
