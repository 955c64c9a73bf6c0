//! Bars of one work as SVG: each peer's median, its interval, and its ratio to the base. Pure.

use std::fmt::{self, Write as _};

use crate::bench::PEERS;
use crate::bench::report::{Interval, Result};
use crate::bench::round::Row;
use crate::bench::work::{Figure, Work};

/// Pixels of the whole, of the names, of the longest bar, of a bar's height and of its row's.
const WIDTH: f64 = 720.0;
const NAMES: f64 = 110.0;
const LONGEST: f64 = 380.0;
const BAR: f64 = 16.0;
const ROW: f64 = 24.0;
/// Above the first bar.
const TOP: f64 = 36.0;
/// Ours, and others.
const COLOURS: [&str; 2] = ["#1f6feb", "#9aa4b2"];

/// The plot of a work; none if nothing of it counts.
pub(crate) fn svg(
    result: &Result<'_>,
    work: &Work,
) -> std::result::Result<Option<String>, fmt::Error> {
    let figure = work.figure();
    let value = |row: &Row| row.figure(figure);
    let seen = PEERS.into_iter().filter_map(|peer| {
        let interval = result.median(work.name, peer, value)?;
        // Without a proxy there is no CPU of one.
        (interval.median > 0.0).then_some((peer, interval))
    });
    let seen: Vec<(&str, Interval)> = seen.collect();
    let most = seen.iter().map(|(_, interval)| interval.high);
    let Some(most) = most.max_by(f64::total_cmp) else {
        return Ok(None);
    };
    let height = seen.iter().fold(TOP + 12.0, |sum, _| sum + ROW);
    let what = if figure == Figure::Second {
        "B"
    } else {
        "the pair"
    };
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">{}: CPU of {what}, microseconds per request \
         (less is better)</text>\n",
        work.name
    );
    let mut top = TOP;
    for (peer, interval) in seen {
        let ratio = result.ratio((work.name, peer), (work.name, work.base()), figure);
        let ratio = match ratio {
            Some(ratio) if peer != work.base() => {
                format!(" ({:.2} x {})", ratio.median, work.base())
            }
            _ => String::new(),
        };
        bar(&mut text, top, peer, &interval, most)?;
        let (x, y) = (NAMES + LONGEST + 10.0, top + BAR - 4.0);
        writeln!(
            text,
            "<text x=\"{x}\" y=\"{y}\">{:.1}{ratio}</text>",
            interval.median
        )?;
        top += ROW;
    }
    text += "</svg>\n";
    Ok(Some(text))
}

fn bar(text: &mut String, top: f64, peer: &str, seen: &Interval, most: f64) -> fmt::Result {
    let at = |value: f64| LONGEST * value / most;
    let colour = COLOURS[usize::from(!peer.starts_with("ours"))];
    let (baseline, middle) = (top + BAR - 4.0, top + BAR / 2.0);
    writeln!(
        text,
        "<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{peer}</text>\n\
         <rect x=\"{NAMES}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
         <path d=\"M{:.1} {middle}H{:.1}\" stroke=\"black\"/>",
        NAMES - 8.0,
        at(seen.median),
        NAMES + at(seen.low),
        NAMES + at(seen.high),
    )
}
