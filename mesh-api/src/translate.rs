//! Resources to entries: one per destination and consumer namespace, one inbound per workload.
