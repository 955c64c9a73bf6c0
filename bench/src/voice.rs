//! What these programs say. May use nothing of this crate.

/// A line for whoever started it.
#[allow(clippy::print_stdout, reason = "what the starter reads")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// A fault, for people.
#[allow(clippy::print_stderr, reason = "faults, beside what the starter reads")]
pub(crate) fn tell(line: impl std::fmt::Display) {
    eprintln!("{line}");
}
