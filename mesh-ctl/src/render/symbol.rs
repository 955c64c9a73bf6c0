//! Signs before a line: Unicode where the terminal's locale has it, else ASCII.

/// The signs in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Symbols {
    /// `√ ‼ ×`.
    Unicode,
    /// `ok !! xx`.
    Ascii,
}

impl Symbols {
    /// By `LC_ALL`, `LC_CTYPE` and `LANG`: the first that is set decides.
    pub(crate) fn of_locale() -> Self {
        let names = ["LC_ALL", "LC_CTYPE", "LANG"];
        let set = names.iter().filter_map(|name| std::env::var(name).ok());
        Self::of(set.into_iter().find(|value| !value.is_empty()).as_deref())
    }

    fn of(locale: Option<&str>) -> Self {
        let name = locale.unwrap_or_default().to_ascii_lowercase();
        if name.ends_with("utf-8") || name.ends_with("utf8") {
            Self::Unicode
        } else {
            Self::Ascii
        }
    }

    /// As it should be.
    pub(crate) fn good(self) -> &'static str {
        match self {
            Self::Unicode => "√",
            Self::Ascii => "ok",
        }
    }

    /// Worth a look.
    pub(crate) fn warning(self) -> &'static str {
        match self {
            Self::Unicode => "‼",
            Self::Ascii => "!!",
        }
    }

    /// Wrong.
    pub(crate) fn bad(self) -> &'static str {
        match self {
            Self::Unicode => "×",
            Self::Ascii => "xx",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides() {
        for (locale, expected) in [
            (Some("en_GB.UTF-8"), Symbols::Unicode),
            (Some("C.utf8"), Symbols::Unicode),
            (Some("C"), Symbols::Ascii),
            (None, Symbols::Ascii),
        ] {
            assert_eq!(Symbols::of(locale), expected, "{locale:?}");
        }
    }
}
