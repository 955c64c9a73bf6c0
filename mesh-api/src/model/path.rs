//! Path patterns that were checked: absolute, normal, and regular expressions that compile.

use std::fmt;

use crate::model::grpc::CallMatch;

/// Largest compiled size of a user's regular expression, in bytes.
pub const REGEX_SIZE_LIMIT: usize = 256 * 1024;

/// A pattern over text, for headers and query parameters (Gateway API `HeaderMatchType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// Equal byte for byte.
    Exact(String),
    /// The whole value fits the expression.
    RegularExpression(Pattern),
}

/// How a rule matches a request's path (Gateway API `PathMatchType`, `GRPCMethodMatch`), without the
/// query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path, byte for byte.
    Exact(String),
    /// Whole segments from the start; held without a trailing `/`, so `/` is held as the empty text.
    Prefix(String),
    /// The whole path fits the expression.
    RegularExpression(Pattern),
    /// The path is a gRPC call: of a GRPCRoute only.
    Call(CallMatch),
}

/// A regular expression that compiles within [`REGEX_SIZE_LIMIT`]; it always matches the whole text.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Checks that `text` compiles.
    ///
    /// # Errors
    /// The expression's fault, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        let pattern = Self(text.to_owned());
        // By itself first: `a)|(b` would only compile inside the anchors, and escape them.
        let alone = compile(text);
        alone
            .and_then(|_| pattern.build())
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    format!("compiles to over {REGEX_SIZE_LIMIT} bytes")
                }
                other => other.to_string().replace('\n', " "),
            })?;
        Ok(pattern)
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compiles it, anchored at both ends.
    ///
    /// # Errors
    /// Never for a value made by [`Pattern::new`] in this version of the library.
    pub fn build(&self) -> Result<regex::Regex, regex::Error> {
        compile(&format!("^(?:{})$", self.0))
    }
}

fn compile(text: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(text)
        .size_limit(REGEX_SIZE_LIMIT)
        .build()
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_fits_the_whole_text_and_cannot_escape() {
        let fits = |pattern: &str, text: &str| {
            let pattern = Pattern::new(pattern).unwrap();
            pattern.build().unwrap().is_match(text)
        };
        assert!(fits("a|bc", "bc") && !fits("a|bc", "ab") && !fits("a", "xa"));
        for bad in ["a)|(b", "a)(b", "(", "[", "a{1000}{1000}"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
