//! The number of a try, told to the app and by it to the hops behind, so that they do not multiply.
//!
//! A request that is itself another's repetition says so by [`FIELD`], where the app passed the field on,
//! or by gRPC's own [`GRPC_FIELD`], where its caller's library repeats. What the proxy of an inner hop
//! then repeats is limited by what was repeated before it: see [`crate::decide::budget`].

/// The number of the try, 1 for the first; absent is 1. Envoy's field: many apps pass it on or log it.
pub const FIELD: &str = "x-envoy-attempt-count";
/// How many tries a client of gRPC made before this one (gRFC A6).
pub const GRPC_FIELD: &str = "grpc-previous-rpc-attempts";

/// Largest number that is told or believed.
const MAX: u32 = 999;

/// Tries that a request stands for beside itself, by the values of [`FIELD`] and [`GRPC_FIELD`] that came
/// with it. What is no number of one to three digits says nothing.
pub fn earlier(count: Option<&[u8]>, grpc: Option<&[u8]>) -> u32 {
    let count = count
        .and_then(number)
        .map_or(0, |count| count.saturating_sub(1));
    count.max(grpc.and_then(number).unwrap_or(0))
}

/// The value of [`FIELD`] for a try of a request that stands for `earlier` tries, `arrived` of which this
/// proxy made itself and which may have reached an app. `None` leaves the field as it came.
pub fn sent_on(earlier: u32, arrived: u32) -> Option<u32> {
    let number = earlier.saturating_add(arrived).saturating_add(1);
    (arrived > 0).then_some(number.min(MAX))
}

fn number(value: &[u8]) -> Option<u32> {
    let good = (1..=3).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    good.then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_repeats() {
        for (count, grpc, expected) in [
            (None, None, 0),
            (Some("1"), None, 0),
            (Some("0"), None, 0),
            (Some("3"), None, 2),
            (Some("999"), None, 998),
            (Some("1000"), None, 0),
            (Some("-2"), None, 0),
            (Some(""), None, 0),
            (Some("2"), Some("4"), 4),
            (None, Some("1"), 1),
            (Some("4"), Some("x"), 3),
        ] {
            let [count, grpc] = [count, grpc].map(|value: Option<&str>| value.map(str::as_bytes));
            assert_eq!(earlier(count, grpc), expected, "{count:?} {grpc:?}");
        }
    }

    #[test]
    fn only_what_may_have_arrived_counts() {
        assert_eq!(sent_on(0, 0), None);
        assert_eq!(sent_on(5, 0), None);
        assert_eq!(sent_on(0, 1), Some(2));
        assert_eq!(sent_on(2, 1), Some(4));
        assert_eq!(sent_on(u32::MAX, 1), Some(999));
    }
}
