//! Explaining a decision: what was considered, why it lost, and where each value comes from.
