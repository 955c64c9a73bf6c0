//! What an answer says of the endpoint that gave it.

use crate::decide::grpc;
use crate::model::grpc::GrpcCode;

/// What an answer is to outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// A good one, or one that is about the request.
    Good,
    /// 500 to 599 but for those of a gateway; `UNKNOWN`, `INTERNAL` or `DATA_LOSS`.
    Error,
    /// 502 to 504; `UNAVAILABLE` or `DEADLINE_EXCEEDED`.
    Gateway,
}

/// What the head of a response says by its status and, where there is one, its `grpc-status`; `None` of a gRPC
/// call whose code comes in its trailers.
pub fn judge(
    status: u16,
    content_type: Option<&[u8]>,
    grpc_status: Option<&[u8]>,
) -> Option<Judgement> {
    match (status, grpc_status) {
        (502..=504, _) => Some(Judgement::Gateway),
        (500..=599, _) => Some(Judgement::Error),
        (_, Some(code)) => Some(of_code(grpc::code(code))),
        (200, None) if content_type.is_some_and(grpc::is_grpc) => None,
        (_, None) => Some(Judgement::Good),
    }
}

/// What trailers say, each field a line that ends with CRLF; a gRPC call without a code in them is broken.
pub fn judge_trailers(trailers: &[u8]) -> Judgement {
    let mut lines = trailers.split(|byte| *byte == b'\n');
    let code = lines.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let is_code = name.eq_ignore_ascii_case(b"grpc-status");
        is_code.then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    code.map_or(Judgement::Error, |code| of_code(grpc::code(code)))
}

fn of_code(code: GrpcCode) -> Judgement {
    match code {
        GrpcCode::Unavailable | GrpcCode::DeadlineExceeded => Judgement::Gateway,
        GrpcCode::Unknown | GrpcCode::Internal | GrpcCode::DataLoss => Judgement::Error,
        _ => Judgement::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_codes_are_judged_alike() {
        for (status, code, expected) in [
            (200, None, Judgement::Good),
            (404, None, Judgement::Good),
            (499, None, Judgement::Good),
            (500, None, Judgement::Error),
            (501, None, Judgement::Error),
            (502, None, Judgement::Gateway),
            (504, None, Judgement::Gateway),
            (505, None, Judgement::Error),
            (599, None, Judgement::Error),
            (200, Some("0"), Judgement::Good),
            (200, Some("14"), Judgement::Gateway),
            (200, Some("4"), Judgement::Gateway),
            (200, Some("2"), Judgement::Error),
            (200, Some("13"), Judgement::Error),
            (200, Some("15"), Judgement::Error),
            (200, Some("12"), Judgement::Good),
            (200, Some("5"), Judgement::Good),
            (503, Some("0"), Judgement::Gateway),
        ] {
            let found = judge(status, None, code.map(str::as_bytes));
            assert_eq!(found, Some(expected), "{status} {code:?}");
        }
    }

    #[test]
    fn the_code_of_a_call_may_come_last() {
        let kind: Option<&[u8]> = Some(b"application/grpc+proto");
        assert_eq!(judge(200, kind, None), None);
        assert_eq!(judge(503, kind, None), Some(Judgement::Gateway));
        assert_eq!(judge(200, kind, Some(b"0")), Some(Judgement::Good));
        for (trailers, expected) in [
            ("grpc-status: 0\r\n", Judgement::Good),
            ("a: b\r\nGrpc-Status:14\r\n", Judgement::Gateway),
            ("grpc-status:13\r\ngrpc-message: x\r\n", Judgement::Error),
            ("grpc-status: 5\r\n", Judgement::Good),
            ("a: b\r\n", Judgement::Error),
            ("", Judgement::Error),
        ] {
            assert_eq!(
                judge_trailers(trailers.as_bytes()),
                expected,
                "{trailers:?}"
            );
        }
    }
}
