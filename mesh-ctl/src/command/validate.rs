//! `meshctl validate`: every fault of manifests, with file, line and field.
