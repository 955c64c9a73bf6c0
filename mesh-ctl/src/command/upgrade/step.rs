//! Which versions lead to which: the next minor version, and any patch.

use anyhow::bail;

/// A version as it orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// Refuses a step that is not supported, and says which is.
pub(crate) fn supported(from: &str, to: &str) -> anyhow::Result<()> {
    let (Some(old), Some(new)) = (parse(from), parse(to)) else {
        bail!("the versions {from} and {to} cannot be compared");
    };
    if new < old {
        bail!(
            "mesh {from} is newer than this meshctl {to}: a control plane does not go back; use \
             meshctl {from}"
        );
    }
    if new.major != old.major || new.minor > old.minor + 1 {
        let next = format!("{}.{}", old.major, old.minor + 1);
        bail!(
            "{from} to {to} skips versions whose proxies may not understand each other: upgrade \
             with meshctl {next} first, restart the pods, then go on"
        );
    }
    Ok(())
}

/// Reads `major.minor.patch`; what follows a `-` or `+` does not count.
fn parse(text: &str) -> Option<Version> {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, _) = text.split_at(end);
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    let version = Version {
        major: numbers.next()??,
        minor: numbers.next()??,
        patch: numbers.next()??,
    };
    numbers.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version_at_a_time_and_never_back() {
        for (from, to, expected) in [
            ("0.1.0", "0.1.0", Ok(())),
            ("0.1.0", "0.1.7", Ok(())),
            ("0.1.9", "0.2.0", Ok(())),
            ("0.1.0-rc.1", "0.1.0", Ok(())),
            ("0.1.0", "0.3.0", Err("upgrade with meshctl 0.2 first")),
            ("0.2.0", "0.1.0", Err("use meshctl 0.2.0")),
            ("0.9.0", "1.0.0", Err("upgrade with meshctl 0.10 first")),
            ("old", "1.0.0", Err("cannot be compared")),
        ] {
            match (supported(from, to), expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{from} {to}: {error}");
                }
                (found, _) => unreachable!("{from} {to}: {found:?}"),
            }
        }
    }
}
