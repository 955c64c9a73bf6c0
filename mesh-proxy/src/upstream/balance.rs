//! Adapter: the place of `mesh_api::decide::balance`, with the same shape. To be replaced by it.

use mesh_api::model::policy::Algorithm;

/// An endpoint to choose from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) weight: u32,
    pub(super) load: f64,
    pub(super) usable: bool,
}

/// The index of the candidate to use; `None` if none is usable. `below(bound)` is a uniform number
/// in `0..bound`.
pub(super) fn pick(
    algorithm: Algorithm,
    candidates: &[Candidate],
    turn: u64,
    below: &mut dyn FnMut(u64) -> u64,
) -> Option<usize> {
    let total = total(candidates, None);
    if total == 0 {
        return None;
    }
    match algorithm {
        Algorithm::RoundRobin => at(candidates, None, turn % total),
        Algorithm::PeakEwma => {
            let first = at(candidates, None, below(total))?;
            let rest = total - u64::from(candidates.get(first)?.weight);
            if rest == 0 {
                return Some(first);
            }
            let second = at(candidates, Some(first), below(rest))?;
            let slower = candidates.get(second)?.load < candidates.get(first)?.load;
            Some(if slower { second } else { first })
        }
    }
}

fn total(candidates: &[Candidate], but: Option<usize>) -> u64 {
    let usable = candidates
        .iter()
        .enumerate()
        .filter(|(i, c)| c.usable && Some(*i) != but);
    usable
        .map(|(_, candidate)| u64::from(candidate.weight))
        .sum()
}

fn at(candidates: &[Candidate], but: Option<usize>, mut point: u64) -> Option<usize> {
    for (index, candidate) in candidates.iter().enumerate() {
        if !candidate.usable || Some(index) == but {
            continue;
        }
        let weight = u64::from(candidate.weight);
        if point < weight {
            return Some(index);
        }
        point -= weight;
    }
    None
}
