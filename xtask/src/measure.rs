//! `cargo xtask tidy --measure`: figures of the code beside the bar we set ourselves.
//!
//! Figures that only a person can judge are not printed. May use `tidy` and `source`.

mod clone;
mod count;

use crate::source::{self, SourceFile};
use crate::tidy::{comment, dependency, layout, life, order, reach, size};

use count::Counts;

/// Prints the table.
pub(crate) fn run() -> anyhow::Result<()> {
    let files = source::read_all()?;
    let rows = [
        path(&files)?,
        sizes(&files),
        shape(&files),
        care(&files),
        weight()?,
    ]
    .concat();
    let width = rows
        .iter()
        .map(|row| row.point.len())
        .max()
        .unwrap_or_default();
    println!("| {:width$} | {:<24} | us |", "point", "bar");
    println!("|{}|{}|---|", "-".repeat(width + 2), "-".repeat(26));
    for Row { point, bar, us } in rows {
        println!("| {point:width$} | {bar:<24} | {us} |");
    }
    Ok(())
}

/// A row of the table.
#[derive(Clone)]
struct Row {
    point: &'static str,
    bar: &'static str,
    us: String,
}

fn row(point: &'static str, bar: &'static str, us: impl Into<String>) -> Row {
    Row {
        point,
        bar,
        us: us.into(),
    }
}

fn path(files: &[SourceFile]) -> anyhow::Result<Vec<Row>> {
    let hops = life::hops(&source::read(life::PAGE)?);
    let mut in_files: Vec<&str> = hops.iter().map(|hop| hop.file.as_str()).collect();
    in_files.sort_unstable();
    in_files.dedup();
    let faults = life::check(files)?.len();
    let checked = if faults == 0 {
        "yes, yes".to_owned()
    } else {
        format!("{faults} faults")
    };
    let hops = format!("{} / {}", hops.len(), in_files.len());
    Ok(vec![
        row("follow a request: hops / files", "<=12 / <=12 small", hops),
        row(
            "documented request path, checked by a test",
            "yes, yes",
            checked,
        ),
    ])
}

fn sizes(files: &[SourceFile]) -> Vec<Row> {
    let mut lines: Vec<(usize, &str)> = shipped(files)
        .map(|file| (file.lines().count(), file.path.as_str()))
        .collect();
    lines.sort_unstable();
    let lengths: Vec<usize> = lines.iter().map(|(lines, _)| *lines).collect();
    let largest = lines
        .last()
        .map_or_else(String::new, |(lines, path)| format!("{lines} ({path})"));
    let mut functions: Vec<(usize, String)> = shipped(files)
        .flat_map(size::functions)
        .map(|function| (function.lines, function.name))
        .collect();
    functions.sort_unstable();
    let longest: Vec<usize> = functions.iter().map(|(lines, _)| *lines).collect();
    let over = longest.iter().filter(|lines| **lines > 100).count();
    let name = functions.last().map_or("", |(_, name)| name);
    let (p90, most) = (percentile(&longest, 90), percentile(&longest, 100));
    let file = format!(
        "{} / {}",
        percentile(&lengths, 50),
        percentile(&lengths, 90)
    );
    vec![
        row("file lines med / p90 (no tests)", "<=200 / <=450", file),
        row("largest file (no tests)", "<=800", largest),
        row(
            "function p90 / max; over 100 lines",
            "<=25 / <=80; 0",
            format!("{p90} / {most} ({name}); {over}"),
        ),
    ]
}

fn shape(files: &[SourceFile]) -> Vec<Row> {
    let cycles: Vec<String> = order::ORDER
        .iter()
        .flat_map(|(package, _)| layout::cyclic(files, package))
        .collect();
    let shipped: Vec<&SourceFile> = shipped(files).collect();
    let clones = clone::share(&shipped);
    let cycles = match cycles.len() {
        0 => "0".to_owned(),
        count => format!("{count}: {}", cycles.join(", ")),
    };
    vec![
        row("import cycle, any crate", "0", cycles),
        row(
            "duplicate code (10-line clones)",
            "<=2%",
            tenths(clones.copied, clones.all),
        ),
    ]
}

fn care(files: &[SourceFile]) -> Vec<Row> {
    let all = Counts::of(shipped(files));
    let api = Counts::of(shipped(files).filter(|file| file.package == "mesh-api"));
    let lines: usize = shipped(files).map(|file| file.lines().count()).sum();
    let marks: usize = shipped(files)
        .map(|file| comment::open_work(file).count())
        .sum();
    let spoken = shipped(files)
        .filter(|file| comment::has_module_doc(file))
        .count();
    let tested = shipped(files).filter(|file| is_tested(files, file)).count();
    let many = shipped(files).count();
    let per = |count: usize| per_thousand(count, lines);
    let documented = format!(
        "{} api, {} all / {}",
        tenths(api.documented, api.public),
        tenths(all.documented, all.public),
        tenths(spoken, many)
    );
    vec![
        row(
            "unwrap / expect per kloc (non-test)",
            "0 / <=1",
            format!("{} / {}", per(all.unwraps), per(all.expects)),
        ),
        row("unsafe blocks", "0", all.unsafes.to_string()),
        row(
            "tests beside code (files)",
            ">=50% of non-glue files",
            tenths(tested, many),
        ),
        row(
            "public items documented / modules with `//!`",
            ">=95% api / 100%",
            documented,
        ),
        row("TODO per kloc", "<=0.3, with issue", per(marks)),
        row(
            "orphan source files",
            "0",
            reach::orphans(files).len().to_string(),
        ),
        row("lines (no tests, not generated)", "-", lines.to_string()),
    ]
}

fn weight() -> anyhow::Result<Vec<Row>> {
    let (members, locked) = (source::members()?.len(), dependency::locked()?);
    let proxy = dependency::tree("mesh-proxy")?.len();
    let api = dependency::tree("mesh-api")?.len();
    Ok(vec![
        row(
            "crates in workspace / locked packages",
            "6 / <=500",
            format!("{members} / {locked}"),
        ),
        row("mesh-proxy tree", "<=220", proxy.to_string()),
        row("mesh-api tree", "-", api.to_string()),
    ])
}

fn shipped(files: &[SourceFile]) -> impl Iterator<Item = &SourceFile> {
    files.iter().filter(|file| file.ships())
}

/// Tests inside the file, or in `tests.rs` below its module.
fn is_tested(files: &[SourceFile], file: &SourceFile) -> bool {
    file.has_inline_tests()
        || files.iter().any(|other| {
            let below = other.module.split_last();
            let (package, module) = (&file.package, file.module.as_slice());
            other.package == *package
                && below.is_some_and(|(name, m)| name == "tests" && m == module)
        })
}

/// The value below which `percent` of the sorted values lie.
fn percentile(sorted: &[usize], percent: usize) -> usize {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn tenths(part: usize, whole: usize) -> String {
    let thousandths = (part * 1000).checked_div(whole).unwrap_or_default();
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

fn per_thousand(count: usize, lines: usize) -> String {
    let tenths = (count * 10_000).checked_div(lines).unwrap_or_default();
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_down() {
        let sorted: Vec<usize> = (1..=10).collect();
        assert_eq!([50, 90, 100].map(|p| percentile(&sorted, p)), [5, 9, 10]);
        assert_eq!(percentile(&[], 90), 0);
        assert_eq!(tenths(1, 3), "33.3%");
        assert_eq!(tenths(0, 0), "0.0%");
        assert_eq!(per_thousand(3, 2000), "1.5");
    }
}
