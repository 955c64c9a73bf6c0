//! Checks of the first day under strict mutual TLS, by what `adoption` finds.

use super::facts::Facts;
use super::finding::{Finding, Verdict};
use crate::adoption::{self, Breakage, Objects};

pub(super) fn entries(facts: &Facts) -> Verdict {
    look(facts, adoption::entries)
}

pub(super) fn outsiders(facts: &Facts) -> Verdict {
    look(facts, adoption::outsiders)
}

pub(super) fn scrapes(facts: &Facts) -> Verdict {
    look(facts, adoption::scrapes)
}

pub(super) fn webhooks(facts: &Facts) -> Verdict {
    look(facts, adoption::webhooks)
}

pub(super) fn network_policies(facts: &Facts) -> Verdict {
    look(facts, adoption::network_policies)
}

pub(super) fn host_network(facts: &Facts) -> Verdict {
    look(facts, adoption::host_network)
}

pub(super) fn started_before(facts: &Facts) -> Verdict {
    look(facts, adoption::started_before)
}

/// Each is a warning: whether anybody relies on it, only its owner knows.
fn look(facts: &Facts, find: fn(&Objects) -> Vec<Breakage>) -> Verdict {
    let Some(cluster) = &facts.cluster else {
        return Verdict::Blind;
    };
    let found = find(&cluster.objects).into_iter();
    let finding = |one: Breakage| Finding::warning(one.what, one.cause, one.fix);
    Verdict::Looked(found.map(finding).collect())
}
