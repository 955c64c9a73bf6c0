//! YAML manifests to resources, with file, line and snippet for every fault.
