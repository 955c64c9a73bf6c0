//! What the rows say: medians, ratios within rounds, intervals, verdicts. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bench::PEERS;
use crate::bench::round::Row;
use crate::bench::work::{Bound, Figure, Work};

/// An interval no wider than this, both ways, settles a bound that it covers.
const WIDEST: f64 = 0.10;
/// Rounds that count before a bound is judged.
const ENOUGH: usize = 9;
/// Fewer values than these give no interval of 95 %.
const FEWEST: usize = 6;

/// The rows that count.
pub(crate) struct Result<'r> {
    rows: Vec<&'r Row>,
    dropped: usize,
}

/// A median and what holds it with 95 %; with fewer than six values, from the least to the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    median: f64,
    low: f64,
    high: f64,
    count: usize,
}

impl Interval {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let outer = outside(count);
        let (first, second) = (
            values.get((count.checked_sub(1)?) / 2)?,
            values.get(count / 2)?,
        );
        Some(Self {
            median: f64::midpoint(*first, *second),
            low: *values.get(outer)?,
            high: *values.get(count - 1 - outer)?,
            count,
        })
    }

    /// True if the median is within `limit`, or the interval covers it and is narrow.
    fn is_within(self, limit: f64) -> bool {
        let narrow = self.high - self.low <= 2.0 * WIDEST * self.median;
        let covers = self.low <= limit && limit <= self.high;
        self.median <= limit || (self.count >= FEWEST && narrow && covers)
    }
}

/// How many values on each side an interval of 95 % for the median may leave out: the most for which
/// the binomial tails stay within 5 %.
fn outside(count: usize) -> usize {
    if count < FEWEST {
        return 0;
    }
    let mut term = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let (mut tail, mut left_out) = (0.0, 0);
    for step in 0..u32::try_from(count).unwrap_or_default() {
        tail += term;
        if 2.0 * tail > 0.05 {
            break;
        }
        left_out += 1;
        let all = f64::from(u32::try_from(count).unwrap_or_default());
        term *= (all - f64::from(step)) / f64::from(step + 1);
    }
    left_out - 1
}

impl<'r> Result<'r> {
    /// Leaves out noisy rows and those with failures, unless noise is kept.
    pub(crate) fn new(rows: &'r [Row], keep_noisy: bool) -> Self {
        let kept = |row: &&Row| row.failed == 0.0 && (keep_noisy || !row.is_noisy());
        let kept: Vec<&Row> = rows.iter().filter(kept).collect();
        let dropped = rows.len() - kept.len();
        Self {
            rows: kept,
            dropped,
        }
    }

    fn of(&self, work: &str, peer: &str) -> impl Iterator<Item = &'r Row> {
        let found = self
            .rows
            .iter()
            .filter(move |row| row.work == work && row.peer == peer);
        found.copied().collect::<Vec<_>>().into_iter()
    }

    fn median(&self, work: &str, peer: &str, value: impl Fn(&Row) -> f64) -> Option<Interval> {
        Interval::of(self.of(work, peer).map(value).collect())
    }

    /// Ratios of `peer` to `base` in the rounds where both count.
    fn ratio(&self, work: &str, peer: &str, base: &str, figure: Figure) -> Option<Interval> {
        let in_round = |row: &Row| {
            let mut others = self.of(work, base);
            let other = others.find(|other| other.round == row.round)?;
            let below = other.figure(figure);
            (below > 0.0).then(|| row.figure(figure) / below)
        };
        Interval::of(self.of(work, peer).filter_map(in_round).collect())
    }

    /// The bounds that do not hold, or that nothing was measured for.
    pub(crate) fn broken(&self, works: &[&Work]) -> Vec<String> {
        let all = works
            .iter()
            .flat_map(|work| work.bounds.iter().map(move |bound| (work, bound)));
        let said = all.filter_map(|(work, bound)| {
            let (holds, said) = self.verdict(work, bound);
            (!holds).then_some(said)
        });
        said.collect()
    }

    fn verdict(&self, work: &Work, bound: &Bound) -> (bool, String) {
        let name = format!("{} {:?} against {}", work.name, bound.figure, bound.peer);
        let limit = match bound.figure {
            Figure::Bytes => 1.0 / bound.times,
            _ => bound.times,
        };
        let Some(seen) = self.ratio(work.name, "ours", bound.peer, bound.figure) else {
            return (false, format!("{name}: not measured"));
        };
        let within = seen.is_within(limit);
        let holds = within && seen.count >= ENOUGH;
        let verdict = match (within, holds) {
            (_, true) => "holds",
            (true, false) => "too few rounds",
            (false, false) => "does not hold",
        };
        let said = format!(
            "{name}: {:.3} [{:.3}, {:.3}] of {} rounds, at most {limit:.3}: {verdict}",
            seen.median, seen.low, seen.high, seen.count
        );
        (holds, said)
    }

    /// Tables of all works, then the verdicts.
    pub(crate) fn markdown(&self, works: &[&Work], floating: bool) -> String {
        let mode = if floating {
            "floating, two workers"
        } else {
            "iso, one worker"
        };
        let mut text = format!(
            "# Bench\n\nMode: {mode}. {} turns count, {} were noisy or had failures. CPU is of both proxies; \
             ratios are medians of those within rounds, with intervals of 95 % (from the least to the \
             largest where fewer than {FEWEST} rounds count).\n",
            self.rows.len(),
            self.dropped
        );
        for work in works {
            self.table(work, &mut text);
        }
        text += "\n## Bounds\n\n";
        for work in works {
            for bound in work.bounds {
                writeln!(text, "- {}", self.verdict(work, bound).1).ok();
            }
        }
        text
    }

    fn table(&self, work: &Work, text: &mut String) {
        let base = work.base();
        write!(
            text,
            "\n## {}\n\n| peer | rounds | CPU us | req/s | p50 us | p99 us | CPU / {base} |\n\
             |---|---|---|---|---|---|---|\n",
            work.name
        )
        .ok();
        for peer in PEERS {
            let median = |value: fn(&Row) -> f64| self.median(work.name, peer, value);
            let Some(cpu) = median(|row| row.cpu_us_per_req) else {
                continue;
            };
            let middle = |value| median(value).map_or(0.0, |interval| interval.median);
            let ratio = self.ratio(work.name, peer, base, Figure::Cpu);
            let ratio = ratio.map_or_else(String::new, |ratio| {
                format!("{:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high)
            });
            writeln!(
                text,
                "| {peer} | {} | {:.1} | {:.0} | {:.0} | {:.0} | {ratio} |",
                cpu.count,
                cpu.median,
                middle(|row| row.req_per_s),
                middle(|row| row.p50_us),
                middle(|row| row.p99_us),
            )
            .ok();
        }
    }

    /// The same as data.
    pub(crate) fn json(&self, works: &[&Work]) -> Value {
        let bounds = works.iter().flat_map(|work| {
            work.bounds.iter().map(|bound| {
                let (holds, said) = self.verdict(work, bound);
                json!({ "work": work.name, "peer": bound.peer, "holds": holds, "said": said })
            })
        });
        json!({ "rows": self.rows, "dropped": self.dropped, "bounds": bounds.collect::<Vec<_>>() })
    }
}

/// Every row, noisy or not.
pub(crate) fn csv(rows: &[Row]) -> String {
    let mut text =
        "round,work,peer,cpu_us_per_req,req_per_s,p50_us,p99_us,p999_us,requests,failed,\
                    cpu_b_us_per_req,foreign_cores,steal_cores,noisy\n"
            .to_owned();
    for row in rows {
        writeln!(
            text,
            "{},{},{},{:.3},{:.1},{},{},{},{},{},{:.3},{:.3},{:.3},{}",
            row.round + 1,
            row.work,
            row.peer,
            row.cpu_us_per_req,
            row.req_per_s,
            row.p50_us,
            row.p99_us,
            row.p999_us,
            row.requests,
            row.failed,
            row.cpu_b_us_per_req,
            row.foreign_cores,
            row.steal_cores,
            row.is_noisy()
        )
        .ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: usize, peer: &'static str, cpu: f64, foreign: f64) -> Row {
        Row {
            round,
            work: "w",
            peer,
            cpu_us_per_req: cpu,
            req_per_s: 1.0,
            p50_us: 1.0,
            p99_us: 1.0,
            p999_us: 1.0,
            requests: 1.0,
            failed: 0.0,
            cpu_b_us_per_req: 1.0,
            foreign_cores: foreign,
            steal_cores: 0.0,
        }
    }

    #[test]
    fn intervals_are_those_of_the_sign_test() {
        // Tables of the sign test: from 6 values the outermost, from 9 the second, from 12 the third.
        let known = [
            (5, 0),
            (6, 0),
            (8, 0),
            (9, 1),
            (11, 1),
            (12, 2),
            (15, 3),
            (20, 5),
        ];
        for (count, expected) in known {
            assert_eq!(outside(count), expected, "{count}");
        }
        let nine = Interval::of((1..=9).map(f64::from).collect()).unwrap();
        assert_eq!((nine.low, nine.median, nine.high), (2.0, 5.0, 8.0));
        let two = Interval::of(vec![1.0, 2.0]).unwrap();
        assert_eq!((two.low, two.median, two.high), (1.0, 1.5, 2.0));
        assert_eq!(Interval::of(Vec::new()), None);
    }

    #[test]
    fn ratios_stay_within_their_round_and_noise_is_left_out() {
        let rows = [
            row(0, "ours", 1.0, 0.0),
            row(0, "envoy", 10.0, 0.0),
            row(1, "ours", 3.0, 0.0),
            row(1, "envoy", 10.0, 0.0),
            row(2, "ours", 9.0, 0.0),
            row(2, "envoy", 10.0, 0.9),
        ];
        let ratio = |keep| {
            let result = Result::new(&rows, keep);
            result.ratio("w", "ours", "envoy", Figure::Cpu).unwrap()
        };
        assert_eq!((ratio(false).count, ratio(false).median), (2, 0.2));
        assert_eq!((ratio(true).count, ratio(true).median), (3, 0.3));
    }

    #[test]
    fn a_wide_interval_settles_nothing() {
        let seen = |low, high| Interval {
            median: 1.05,
            low,
            high,
            count: 9,
        };
        assert!(seen(0.98, 1.1).is_within(1.0));
        assert!(!seen(0.7, 1.4).is_within(1.0));
        assert!(!seen(1.01, 1.1).is_within(1.0));
        assert!(seen(0.7, 1.4).is_within(1.05));
    }
}
