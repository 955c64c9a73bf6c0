//! The connection routes of a destination as tables by server name.
//!
//! Precedence (Gateway API 1.6 `TLSRoute`, as for `HTTPRouteSpec.hostnames`): the exact name; then
//! the longest wildcard; then the oldest route; then its `namespace/name`. A TCPRoute takes what no
//! TLSRoute takes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Faults;
use crate::model::connection::{ConnectionRoute, ConnectionRouteKind};
use crate::model::route::Target;

/// The connection routes of a destination, ready for look-ups.
#[derive(Debug, Default)]
pub struct ConnectionTables {
    /// The routes, in order of precedence among equal names.
    pub routes: Vec<Arc<ConnectionTable>>,
    /// By exact server name.
    exact: HashMap<String, usize>,
    /// By what follows the `*.` of a wildcard.
    suffixes: HashMap<String, usize>,
    /// The route that takes any connection.
    any: Option<usize>,
}

/// A route with the sum of its weights.
#[derive(Debug)]
pub struct ConnectionTable {
    /// The route.
    pub route: ConnectionRoute,
    /// Sum of its backends' weights.
    pub total_weight: u64,
}

impl ConnectionTables {
    /// Compiles `routes`.
    pub(super) fn compile(mut routes: Vec<ConnectionRoute>) -> Self {
        routes.sort_by_key(precedence);
        let routes: Vec<_> = routes.into_iter().map(table).map(Arc::new).collect();
        let mut tables = Self::default();
        for (place, table) in routes.iter().enumerate() {
            if table.route.kind == ConnectionRouteKind::Tcp {
                tables.any.get_or_insert(place);
            }
            for hostname in &table.route.hostnames {
                let (names, name) = match hostname.as_str().strip_prefix("*.") {
                    Some(suffix) => (&mut tables.suffixes, suffix),
                    None => (&mut tables.exact, hostname.as_str()),
                };
                names.entry(name.to_owned()).or_insert(place);
            }
        }
        tables.routes = routes;
        tables
    }

    /// The route that takes a connection whose ClientHello names `server_name` (in lower case).
    pub fn find(&self, server_name: Option<&str>) -> Option<&Arc<ConnectionTable>> {
        let named = server_name.and_then(|name| {
            let suffixes = name
                .match_indices('.')
                .filter_map(|(at, _)| name.get(at + 1..));
            let wildcard = || {
                let mut longest_first = suffixes.filter(|suffix| !suffix.is_empty());
                longest_first.find_map(|suffix| self.suffixes.get(suffix))
            };
            self.exact.get(name).or_else(wildcard)
        });
        self.routes.get(*named.or(self.any.as_ref())?)
    }

    /// The routes it was compiled from, in order of precedence.
    pub fn routes(&self) -> Vec<ConnectionRoute> {
        self.routes
            .iter()
            .map(|table| table.route.clone())
            .collect()
    }

    /// True if it was compiled from `routes`, in any order.
    pub(super) fn holds(&self, routes: &[ConnectionRoute]) -> bool {
        let mut sorted: Vec<_> = routes.iter().collect();
        sorted.sort_by_key(|route| precedence(route));
        let mut held = self.routes.iter().zip(sorted);
        self.routes.len() == routes.len() && held.all(|(held, route)| held.route == *route)
    }

    /// Records each route that names a backend beyond the first `count`.
    pub(super) fn check_targets(&self, count: usize, faults: &mut Faults) {
        for table in &self.routes {
            for (at, backend) in table.route.rule.backends.iter().enumerate() {
                if let Target::Backend(index) = backend.target
                    && usize::try_from(index).is_ok_and(|index| index >= count)
                {
                    faults.field("connectionRoutes", |f| {
                        f.refuse(format!(
                            "{} backends[{at}] names backend {index} of {count}",
                            table.route.name
                        ));
                    });
                }
            }
        }
    }
}

fn table(route: ConnectionRoute) -> ConnectionTable {
    let weights = route.rule.backends.iter();
    ConnectionTable {
        total_weight: weights.map(|backend| u64::from(backend.weight)).sum(),
        route,
    }
}

/// Smaller wins, among routes that take the same name.
fn precedence(route: &ConnectionRoute) -> impl Ord + use<> {
    let ConnectionRoute {
        kind,
        created,
        name,
        ..
    } = route;
    (*kind, *created, name.clone())
}
