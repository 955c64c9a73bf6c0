//! What the rows say: medians, ratios within rounds, intervals, verdicts. Pure.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::bench::PEERS;
use crate::bench::round::Row;
use crate::bench::work::{Bound, Figure, Work};

/// An interval no wider than this, both ways, settles a bound that it covers.
const WIDEST: f64 = 0.10;
/// Rounds that count before a bound is judged.
const ENOUGH: usize = 9;
/// The work whose connections workers share.
const SHARED: &str = "h1-c64";
/// What the worker that runs least must have where there are two.
const LEAST_SHARE: f64 = 0.40;
/// Turns that do not count and are told one by one.
const SHOWN: usize = 40;
/// Fewer values than these give no interval of 95 %.
const FEWEST: usize = 6;

/// The rows that count, and why others do not.
pub(crate) struct Result<'r> {
    rows: Vec<&'r Row>,
    dropped: Vec<(&'r Row, String)>,
    floating: bool,
}

/// How a run was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// Two workers on any CPU.
    pub(crate) floating: bool,
    /// Noisy turns count too.
    pub(crate) keep_noisy: bool,
}

/// A median and what holds it with 95 %; with fewer than six values, from the least to the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) count: usize,
}

impl Interval {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
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
    pub(crate) fn new(rows: &'r [Row], mode: Mode) -> Self {
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for row in rows {
            match row.fault() {
                Some(why) if row.failed > 0.0 || !mode.keep_noisy => dropped.push((row, why)),
                _ => kept.push(row),
            }
        }
        Self {
            rows: kept,
            dropped,
            floating: mode.floating,
        }
    }

    fn of(&self, work: &str, peer: &str) -> impl Iterator<Item = &'r Row> {
        let found = self
            .rows
            .iter()
            .filter(move |row| row.work == work && row.peer == peer);
        found.copied().collect::<Vec<_>>().into_iter()
    }

    pub(crate) fn median(
        &self,
        work: &str,
        peer: &str,
        value: impl Fn(&Row) -> f64,
    ) -> Option<Interval> {
        Interval::of(self.of(work, peer).map(value).collect())
    }

    /// Ratios of a peer to `base`, each at a work, in the rounds where both count.
    pub(crate) fn ratio(
        &self,
        (work, peer): (&str, &str),
        base: (&str, &str),
        figure: Figure,
    ) -> Option<Interval> {
        let in_round = |row: &Row| {
            let mut others = self.of(base.0, base.1);
            let other = others.find(|other| other.round == row.round)?;
            let below = other.figure(figure);
            (below > 0.0).then(|| row.figure(figure) / below)
        };
        Interval::of(self.of(work, peer).filter_map(in_round).collect())
    }

    /// The bounds that do not hold, or that nothing was measured for.
    pub(crate) fn broken(&self, works: &[&Work]) -> Vec<String> {
        let all = self.verdicts(works).into_iter();
        all.filter_map(|(holds, said)| (!holds).then_some(said))
            .collect()
    }

    /// Each bound of this mode, whether it holds, and why.
    fn verdicts(&self, works: &[&Work]) -> Vec<(bool, String)> {
        let mut all = Vec::new();
        for work in works {
            let bounds = work.bounds.iter();
            for bound in bounds.filter(|bound| bound.floating == self.floating) {
                all.push(self.verdict(work, bound));
            }
        }
        if self.floating {
            all.extend(self.workers());
        }
        all
    }

    /// Both workers of a proxy have their share, where there are connections enough for both.
    fn workers(&self) -> Option<(bool, String)> {
        let parts = self
            .of(SHARED, "ours")
            .filter_map(|row| row.smallest_worker);
        let seen = Interval::of(parts.collect())?;
        let holds = seen.median >= LEAST_SHARE;
        let said = format!(
            "{SHARED}, the worker that ran least: {:.2} [{:.2}, {:.2}] of its proxy's CPU in {} rounds, \
             at least {LEAST_SHARE}: {}",
            seen.median,
            seen.low,
            seen.high,
            seen.count,
            if holds { "holds" } else { "does not hold" }
        );
        Some((holds, said))
    }

    fn verdict(&self, work: &Work, bound: &Bound) -> (bool, String) {
        let than = bound.work.unwrap_or(work.name);
        let name = format!(
            "{} {:?}, {} against {}{}",
            work.name,
            bound.figure,
            bound.who,
            bound.peer,
            bound
                .work
                .map(|work| format!(" at {work}"))
                .unwrap_or_default()
        );
        let limit = match bound.figure {
            Figure::Bytes => 1.0 / bound.times,
            _ => bound.times,
        };
        let ratio = self.ratio((work.name, bound.who), (than, bound.peer), bound.figure);
        let Some(seen) = ratio else {
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

    /// Tables of all works, then the verdicts, then what does not count.
    pub(crate) fn markdown(&self, works: &[&Work]) -> std::result::Result<String, fmt::Error> {
        let mode = if self.floating {
            "floating, two workers"
        } else {
            "iso, one worker"
        };
        let mut text = format!(
            "Mode: {mode}. {} turns count, {} do not. CPU is of both proxies, B is the second alone; \
             ratios are medians of those within rounds, with intervals of 95 % (from the least to the \
             largest where fewer than {FEWEST} rounds count).\n",
            self.rows.len(),
            self.dropped.len()
        );
        let noise =
            |value: fn(&Row) -> f64| Interval::of(self.rows.iter().map(|row| value(row)).collect());
        if let (Some(foreign), Some(steal)) =
            (noise(|row| row.foreign_cores), noise(|row| row.steal_cores))
        {
            writeln!(
                text,
                "Beside what was measured, others ran on {:.3} cores (median; interval up to {:.3}), and {:.3} (up to {:.3}) were withheld.",
                foreign.median, foreign.high, steal.median, steal.high
            )?;
        }
        for work in works {
            self.table(work, &mut text)?;
        }
        text += "\n## Bounds\n\n";
        for (_, said) in self.verdicts(works) {
            writeln!(text, "- {said}")?;
        }
        self.left_out(&mut text)?;
        Ok(text)
    }

    fn left_out(&self, text: &mut String) -> fmt::Result {
        if self.dropped.is_empty() {
            return Ok(());
        }
        *text +=
            "\n## Turns that do not count\n\n| round | work | peer | why |\n|---|---|---|---|\n";
        for (row, why) in self.dropped.iter().take(SHOWN) {
            let round = row.round + 1;
            writeln!(text, "| {round} | {} | {} | {why} |", row.work, row.peer)?;
        }
        let more = self.dropped.len().saturating_sub(SHOWN);
        if more > 0 {
            writeln!(text, "\nand {more} more, in `rounds.csv`.")?;
        }
        Ok(())
    }

    fn table(&self, work: &Work, text: &mut String) -> fmt::Result {
        let base = work.base();
        write!(
            text,
            "\n## {}\n\n| peer | rounds | CPU us | B us | req/s | p50 us | p99 us | CPU / {base} |\n\
             |---|---|---|---|---|---|---|---|\n",
            work.name
        )?;
        for peer in PEERS {
            let median = |value: fn(&Row) -> f64| self.median(work.name, peer, value);
            let Some(cpu) = median(|row| row.cpu_us_per_req) else {
                continue;
            };
            let middle = |value| median(value).map_or(0.0, |interval| interval.median);
            let ratio = self.ratio((work.name, peer), (work.name, base), work.figure());
            let ratio = ratio.map_or_else(String::new, |ratio| {
                format!("{:.3} [{:.3}, {:.3}]", ratio.median, ratio.low, ratio.high)
            });
            writeln!(
                text,
                "| {peer} | {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {ratio} |",
                cpu.count,
                cpu.median,
                middle(|row| row.cpu_b_us_per_req),
                middle(|row| row.req_per_s),
                middle(|row| row.p50_us),
                middle(|row| row.p99_us),
            )?;
        }
        if self.of(work.name, "ours").next().is_some() {
            write!(text, "\n![{0}]({0}.svg)\n", work.name)?;
        }
        Ok(())
    }

    /// The same as data.
    pub(crate) fn json(&self, works: &[&Work]) -> Value {
        let bounds = self.verdicts(works).into_iter();
        let bounds: Vec<Value> = bounds
            .map(|(holds, said)| json!({ "holds": holds, "said": said }))
            .collect();
        json!({ "rows": self.rows, "dropped": self.dropped.len(), "bounds": bounds })
    }
}

/// Every row, noisy or not.
pub(crate) fn csv(rows: &[Row]) -> std::result::Result<String, fmt::Error> {
    let mut text =
        "round,work,peer,cpu_us_per_req,req_per_s,p50_us,p99_us,p999_us,requests,failed,\
                    cpu_b_us_per_req,foreign_cores,steal_cores,smallest_worker,fault\n"
            .to_owned();
    for row in rows {
        writeln!(
            text,
            "{},{},{},{:.3},{:.1},{},{},{},{},{},{:.3},{:.3},{:.3},{},{}",
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
            row.smallest_worker
                .map(|part| format!("{part:.3}"))
                .unwrap_or_default(),
            row.fault().unwrap_or_default()
        )?;
    }
    Ok(text)
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
            smallest_worker: None,
        }
    }

    fn mode(keep_noisy: bool) -> Mode {
        Mode {
            floating: false,
            keep_noisy,
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
            let result = Result::new(&rows, mode(keep));
            let (who, base) = (("w", "ours"), ("w", "envoy"));
            result.ratio(who, base, Figure::Cpu).unwrap()
        };
        assert_eq!((ratio(false).count, ratio(false).median), (2, 0.2));
        assert_eq!((ratio(true).count, ratio(true).median), (3, 0.3));
    }

    #[test]
    fn what_does_not_count_says_why() {
        let mut failed = row(1, "envoy", 1.0, 0.0);
        failed.failed = 2.0;
        let rows = [row(0, "ours", 1.0, 0.3), failed, row(2, "ours", 1.0, 0.0)];
        let text = Result::new(&rows, mode(false)).markdown(&[]).unwrap();
        assert!(
            text.contains("| 1 | w | ours | others ran on 0.30 cores |"),
            "{text}"
        );
        assert!(text.contains("| 2 | w | envoy | 2 failed |"), "{text}");
        assert!(text.contains("1 turns count, 2 do not"), "{text}");
        // Kept noise is kept, but a failure is none.
        let kept = Result::new(&rows, mode(true));
        assert_eq!((kept.rows.len(), kept.dropped.len()), (2, 1));
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
