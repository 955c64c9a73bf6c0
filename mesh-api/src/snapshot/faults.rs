//! Injected faults with the expressions of their matches compiled.

use crate::error::Faults;
use crate::model::fault::Fault;
use crate::model::origin::Sourced;
use crate::snapshot::routing::Expressions;

/// A list of faults, ready for look-ups.
#[derive(Debug)]
pub struct FaultTable {
    /// The list and who set it.
    pub faults: Sourced<Vec<Fault>>,
    /// For each fault, the expressions of each of its matches.
    pub expressions: Vec<Vec<Expressions>>,
}

impl FaultTable {
    /// Compiles `list`; a match whose expression does not compile is a fault, and met by nothing.
    pub fn compile(list: Sourced<Vec<Fault>>, faults: &mut Faults) -> Self {
        let mut expressions = Vec::new();
        for fault in &list.value {
            let each = fault
                .matches
                .iter()
                .map_while(|one| Expressions::compile(&one.conditions, faults));
            expressions.push(each.collect());
        }
        Self {
            faults: list,
            expressions,
        }
    }

    /// True if a match asks for labels of the caller.
    pub fn reads_labels(&self) -> bool {
        let mut matches = self.faults.value.iter().flat_map(|fault| &fault.matches);
        matches.any(|one| !one.sources.labels.is_empty())
    }
}
