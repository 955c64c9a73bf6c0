//! What users write: our kinds and the Gateway API types, serde and schema only.
