//! The control plane inside Kubernetes: what it reads from the API server, asks it and writes to it.
//!
//! # Rights
//!
//! Everything that the ServiceAccount `mesh-control` needs, and nothing else. Cluster-wide:
//!
//! | group | resources | verbs | for |
//! |---|---|---|---|
//! | core | `services`, `namespaces`, `pods`, `nodes` | get, list, watch | the index; ranges of addresses |
//! | `discovery.k8s.io` | `endpointslices` | get, list, watch | the index |
//! | `networking.k8s.io` | `servicecidrs` | get, list, watch | ranges of addresses |
//! | `apiextensions.k8s.io` | `customresourcedefinitions` | get, list, watch | kinds that are installed later |
//! | `gateway.networking.k8s.io` | `httproutes`, `grpcroutes`, `tlsroutes`, `tcproutes` | get, list, watch | the index |
//! | `gateway.networking.k8s.io` | the same with `/status` | get, patch, update | status |
//! | `mesh.dev` | `*` | get, list, watch | the index |
//! | `mesh.dev` | `*/status` | get, patch, update | status |
//! | `authentication.k8s.io` | `tokenreviews` | create | joins by ServiceAccount, remote administrators |
//! | `authorization.k8s.io` | `subjectaccessreviews` | create | remote administrators |
//! | `admissionregistration.k8s.io` | `mutatingwebhookconfigurations` named `mesh-injector`, `validatingwebhookconfigurations` named `mesh-validator` | get, patch | their `caBundle` |
//!
//! In its own namespace (a Role):
//!
//! | group | resources | verbs | for |
//! |---|---|---|---|
//! | core | `secrets` (no name: create cannot have one) | create | the authority, at the first start |
//! | core | `secrets` named `mesh-ca-root`, `mesh-ca-intermediate` | get, update | the authority; renewal of the intermediate |
//! | core | `configmaps` (no name) | create | the trusted roots, at the first start |
//! | core | `configmaps` named `mesh-ca-roots` | get, update | the trusted roots |
//! | `coordination.k8s.io` | `leases` (no name) | create | the leader |
//! | `coordination.k8s.io` | `leases` named `mesh-control` | get, patch, update | the leader |
//!
//! Who may ask the remote admin side (port 15014) needs, by the same rules: verb `get` on resource
//! `control` of group `admin.mesh.dev` for the control plane's own state, and on `proxies` of that
//! group, by namespace and name, for what is relayed to proxies.
