//! Checks of the control plane.

use super::facts::Facts;
use super::finding::{Finding, Verdict};
use crate::render::time::age;

/// A difference between clocks that is worth a look: certificates begin two minutes early.
const SKEW_SEEN: u64 = 6;
/// A difference that makes fresh certificates invalid.
const SKEW_BREAKS: u64 = 110;

pub(super) fn answers(facts: &Facts) -> Verdict {
    let Err(reason) = &facts.control else {
        return Verdict::Looked(Vec::new());
    };
    if facts.cluster.is_some() {
        return Verdict::Looked(vec![Finding::fault(
            "the control plane does not answer",
            reason.clone(),
            "kubectl get pods -n mesh-system and meshctl logs -n mesh-system deploy/mesh-control say \
             more; `meshctl install` mends what is missing",
        )]);
    }
    Verdict::Looked(vec![Finding::fault(
        "the control plane does not answer",
        reason.clone(),
        "start it with `meshctl control --manifests DIR`, or name its folder with --state or MESH_STATE; \
         proxies serve from their last good configuration meanwhile",
    )])
}

pub(super) fn listens(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let Some(takes) = &control.takes else {
        return Verdict::Blind;
    };
    let finding = |reason: &String| {
        Finding::fault(
            format!("nothing takes connections at {}", control.listen),
            reason.clone(),
            "see the control plane's log; another --listen if the address is not this machine's",
        )
    };
    Verdict::Looked(takes.as_ref().err().map(finding).into_iter().collect())
}

pub(super) fn build(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    if control.build == facts.build {
        return Verdict::Looked(Vec::new());
    }
    Verdict::Looked(vec![Finding::warning(
        format!(
            "the control plane is {}, meshctl is {}",
            control.build, facts.build
        ),
        "one of them was upgraded alone",
        "use a meshctl of the control plane's version, or upgrade the control plane",
    )])
}

pub(super) fn clocks(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let own = control
        .clock
        .map(|clock| ("the control plane".to_owned(), clock));
    let proxies = control.asked.iter().filter_map(|proxy| {
        let clock = proxy.certificates["now"].as_i64()?;
        Some((proxy.workload.clone(), clock))
    });
    let finding = |(who, clock): (String, i64)| {
        let skew = clock.abs_diff(facts.now);
        let way = if clock > facts.now {
            "ahead of"
        } else {
            "behind"
        };
        let what = format!("the clock of {who} is {} {way} this machine's", age(skew));
        let fix = "synchronise the clocks (NTP) of both machines";
        match skew {
            0..SKEW_SEEN => None,
            SKEW_SEEN..=SKEW_BREAKS => Some(Finding::warning(
                what,
                "ages and expiries are off by as much",
                fix,
            )),
            _ => Some(Finding::fault(
                what,
                "certificates seem to have ended, or not to have begun",
                fix,
            )),
        }
    };
    Verdict::Looked(own.into_iter().chain(proxies).filter_map(finding).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::{Control, Proxy};
    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    #[test]
    fn skewed_clocks_are_seen_on_both_sides() {
        let with = |clock: i64, proxy: i64| {
            let mut facts = good();
            let asked = Proxy {
                certificates: json!({"now": proxy}),
                ..Proxy::default()
            };
            facts.control = Ok(Control {
                clock: Some(clock),
                asked: vec![asked],
                ..Control::default()
            });
            severities(&clocks(&facts))
        };
        let now = good().now;
        assert_eq!(with(now, now - 3), []);
        assert_eq!(with(now + 60, now), [Severity::Warning]);
        assert_eq!(with(now, now - 300), [Severity::Fault]);
    }

    #[test]
    fn without_a_control_plane_only_that_is_said() {
        let mut facts = good();
        facts.control = Err("no such file".into());
        assert_eq!(severities(&answers(&facts)), [Severity::Fault]);
        for check in [listens, build, clocks] {
            assert_eq!(check(&facts), Verdict::Blind);
        }
    }
}
