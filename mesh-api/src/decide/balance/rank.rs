//! Which endpoints come before others, by how they stand.

use crate::decide::balance::pool::Candidate;
use crate::decide::balance::{Choice, Members};
use crate::model::policy::DEFAULTS;

/// Which endpoints a pick may choose from; each where those before have none.
#[derive(Clone, Copy)]
pub(super) struct Rank {
    /// Those that are stale.
    stale: bool,
    /// Also those that failed and may not be ejected.
    failed: bool,
}

impl Rank {
    pub(super) const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(true, true),
    ];

    const fn new(stale: bool, failed: bool) -> Self {
        Self { stale, failed }
    }

    pub(super) fn gather(
        self,
        choice: &Choice<'_>,
        members: &impl Members,
        room: &mut Vec<Candidate>,
    ) {
        let weights = choice.weights;
        let all = 0..weights.count;
        let out = all.clone().filter(|index| members.standing(*index).ejected);
        let most = weights.count as u64 * u64::from(DEFAULTS.max_ejected_percent);
        // The set may have shrunk since: the share that is out holds for the set as it is.
        let heed = self.failed && out.count() as u64 * 100 <= most;
        room.clear();
        room.extend(all.map(|index| {
            let standing = members.standing(index);
            let is_out = if self.failed {
                heed && standing.ejected
            } else {
                standing.failed
            };
            Candidate {
                weight: if choice.warms {
                    weights.of(index).saturating_mul(members.warmth(index))
                } else {
                    weights.of(index)
                },
                load: members.load(index),
                usable: standing.stale == self.stale && !standing.tried && !is_out,
            }
        }));
    }
}
