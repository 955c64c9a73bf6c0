//! Which request may try an endpoint whose ejection has run out.

/// A request, as far as that cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking<'r> {
    /// Its method.
    pub method: &'r str,
    /// Whether its content can be sent again.
    pub replayable: bool,
    /// Whether another endpoint is well and was not tried yet.
    pub other_left: bool,
}

impl Asking<'_> {
    /// A connection of which nothing was sent: it is made elsewhere where this fails.
    pub const CONNECTION: Self = Self {
        method: "GET",
        replayable: true,
        other_left: true,
    };

    /// Whether it can be sent elsewhere when the endpoint fails: then its caller sees nothing of that.
    pub fn can_go_elsewhere(&self) -> bool {
        let is_safe = matches!(self.method, "GET" | "HEAD" | "OPTIONS");
        is_safe && self.replayable && self.other_left
    }

    /// Whether it may try the endpoint: one that can go elsewhere; any, where such do not come and the endpoint
    /// is `overdue`, having waited for as long again as its ejection.
    pub fn may_try(&self, overdue: bool) -> bool {
        overdue || self.can_go_elsewhere()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_go_elsewhere_tries_first() {
        for (method, replayable, other_left, elsewhere) in [
            ("GET", true, true, true),
            ("HEAD", true, true, true),
            ("OPTIONS", true, true, true),
            ("POST", true, true, false),
            ("PUT", true, true, false),
            ("GET", false, true, false),
            ("GET", true, false, false),
        ] {
            let asking = Asking {
                method,
                replayable,
                other_left,
            };
            assert_eq!(asking.may_try(false), elsewhere, "{asking:?}");
            assert!(asking.may_try(true));
        }
    }
}
