//! The mesh's contract: config types, their checked model, wire messages, and every decision as
//! pure functions. No I/O, no async runtime, no client of anything: time, randomness and load are
//! arguments.
//!
//! Data runs one way:
//!
//! ```text
//! YAML, CRD --serde--> resource --check--> model --translate--> entries --wire--> bytes
//! bytes --wire--> entries --compile--> snapshot --decide--> decision
//! ```
//!
//! Modules form a list: each uses only those above it.
//!
//! The proxy, the control plane and `meshctl` share this crate, so a program that uses it gets the
//! answer that the mesh would give:
//!
#![cfg_attr(feature = "manifest", doc = "```")]
#![cfg_attr(not(feature = "manifest"), doc = "```ignore")]
//! use mesh_api::decide::explanation::{Fields, Result, explain};
//! use mesh_api::decide::{Caller, Request, target};
//! use mesh_api::snapshot::DestinationTable;
//! use mesh_api::{manifest, translate::Catalog};
//!
//! let text = "
//! apiVersion: v1
//! kind: Service
//! metadata: { name: shop, namespace: demo }
//! spec: { selector: { app: shop }, ports: [{ name: http, port: 80 }] }
//! ---
//! apiVersion: gateway.networking.k8s.io/v1
//! kind: HTTPRoute
//! metadata: { name: shop, namespace: demo }
//! spec:
//!   parentRefs: [{ group: '', kind: Service, name: shop, port: 80 }]
//!   rules: [{ matches: [{ path: { value: /items } }], backendRefs: [{ name: shop, port: 80 }] }]
//! ";
//!
//! // Resources: each is accepted, or refused with every fault and its place.
//! let mut catalog = Catalog::default();
//! for located in manifest::read("shop.yaml", text).resources {
//!     assert!(catalog.apply(located.resource).faults.is_empty());
//! }
//!
//! // The entry of one destination, as callers in `demo` see it, compiled.
//! let entry = catalog.destination(&"demo/shop:80".parse()?, &"demo".parse()?).unwrap();
//! let table = DestinationTable::compile(entry, None).unwrap();
//!
//! // A request, decided; the path is normalised first, as a proxy does.
//! let target = target::normalise("/carts/../nothing?x=1")?;
//! let fields = Fields(&[("accept", "*/*")]);
//! let request = Request {
//!     method: "GET",
//!     scheme: "http",
//!     authority: "shop",
//!     port: 80,
//!     path: &target.path,
//!     query: target.query,
//!     headers: &fields,
//!     caller: Caller {
//!         namespace: &table.consumer,
//!         labels: None,
//!         service_account: None,
//!         address: None,
//!     },
//! };
//! let explained = explain(&table, &request, fields);
//! assert!(matches!(
//!     explained.outcomes[0].result,
//!     Result::Refuse { status: 404, reason: "no-route", .. }
//! ));
//! println!("{explained}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/` has whole programs: `decide` and `in_force` read manifests from files, `crds` prints our
//! kinds as Kubernetes takes them. `docs/guide/library.md` says what is stable.

pub mod decide;
pub mod error;
pub mod explain;
#[cfg(all(feature = "manifest", any(test, feature = "testing")))]
pub mod fixture;
#[cfg(feature = "manifest")]
pub mod manifest;
pub mod model;
pub mod name;
pub mod pod;
pub mod resource;
pub mod snapshot;
pub mod token;
pub mod translate;
mod version;
pub mod wire;

pub use version::version;
