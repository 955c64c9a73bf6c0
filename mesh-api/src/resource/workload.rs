//! `Workload`: a running instance that Kubernetes does not know.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::locality::LocalityField;
use crate::resource::object::Object;

/// A running instance; Services select it by its labels.
pub type Workload = Object<WorkloadSpec>;

/// Where it runs and who it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Its IP address.
    #[schemars(extend("maxLength" = 45, "x-kubernetes-validations" = [{
        "rule": "isIP(self)",
        "message": "is not an IP address",
    }]))]
    pub address: String,
    /// Its ports by the Service's port name; the Service's `targetPort` where absent.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 256, "x-kubernetes-validations" = [{
        "rule": "self.all(name, self[name] >= 1 && self[name] <= 65535)",
        "message": "each value is a port (1 to 65535)",
    }]))]
    pub ports: BTreeMap<String, i64>,
    /// `default` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Where its tunnel listens; 15008 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub tunnel_port: Option<i64>,
    /// `default` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Where it runs: sets the labels `topology.kubernetes.io/region` and `topology.kubernetes.io/zone`, which say so where
    /// this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<LocalityField>,
    /// Its share, 1 to 10,000; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub weight: Option<i64>,
    /// HBONE where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<WorkloadProtocol>,
    /// How it tells that it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<serde_json::Value>,
}

/// How peers reach it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum WorkloadProtocol {
    /// By a tunnel.
    #[serde(rename = "HBONE")]
    Hbone,
    /// Plain: outside the mesh.
    None,
}
