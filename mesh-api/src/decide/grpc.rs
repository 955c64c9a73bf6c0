//! gRPC's view of an exchange: which code a status means, and which code a refusal of the mesh gets.

use crate::decide::Refusal;
use crate::model::grpc::GrpcCode;

/// True for a request or response of gRPC, by its `content-type` (gRPC over HTTP/2, "Content-Type");
/// gRPC-Web is not.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let prefix = b"application/grpc";
    let (head, rest) = content_type
        .split_at_checked(prefix.len())
        .unwrap_or_default();
    head.eq_ignore_ascii_case(prefix) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The code that a `grpc-status` says; one that is no code counts as `UNKNOWN`.
pub fn code(grpc_status: &[u8]) -> GrpcCode {
    let text = std::str::from_utf8(grpc_status).ok();
    let digits = text.filter(|text| text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|text| text.parse().ok());
    number
        .and_then(GrpcCode::of_number)
        .unwrap_or(GrpcCode::Unknown)
}

/// A text as the value of `grpc-message`: what is no printable ASCII, and `%`, is escaped (gRPC over
/// HTTP/2, "Status-Message").
pub fn message(text: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
    let mut escaped = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => escaped.push(char::from(*byte)),
            _ => escaped.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    escaped
}

/// The code of a response without a `grpc-status`, as every client of gRPC takes it (gRPC's
/// `http-grpc-status-mapping`).
pub fn of_response(status: u16) -> GrpcCode {
    match status {
        400 => GrpcCode::Internal,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 => GrpcCode::Unimplemented,
        429 | 502..=504 => GrpcCode::Unavailable,
        _ => GrpcCode::Unknown,
    }
}

/// The code of a refusal that the mesh itself makes, by the status it has in HTTP.
///
/// It follows [`of_response`] where that is exact, and says more where the mesh knows more:
///
/// - 504: the time was up, in the mesh: `DEADLINE_EXCEEDED`, as gRPC's own clients say it.
/// - 500 (a broken or missing backend) and every 502 and 503 (no endpoint, a failed connect, a limit
///   of connections or requests): `UNAVAILABLE`. The Gateway API asks for it (`GRPCRouteRule`), and
///   clients may try again; Envoy and Linkerd answer a full queue so, too.
/// - 429: a quota of the caller: `RESOURCE_EXHAUSTED`, so that it is not tried again at once.
/// - 413 and 431: too large, which gRPC's own limits call `RESOURCE_EXHAUSTED`.
/// - 501: `UNIMPLEMENTED`. 499: `CANCELLED`.
/// - Other 4xx mean a broken message: `INTERNAL`.
pub fn of_refusal(status: u16) -> GrpcCode {
    match status {
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 | 501 => GrpcCode::Unimplemented,
        413 | 429 | 431 => GrpcCode::ResourceExhausted,
        499 => GrpcCode::Cancelled,
        400..=498 => GrpcCode::Internal,
        500 | 502 | 503 => GrpcCode::Unavailable,
        504 => GrpcCode::DeadlineExceeded,
        _ => GrpcCode::Unknown,
    }
}

impl Refusal<'_> {
    /// The code that a caller of gRPC sees: `UNIMPLEMENTED` where no rule matches, `UNAVAILABLE` where
    /// the backend is broken (Gateway API `GRPCRouteRule.backendRefs`).
    pub fn grpc_code(&self) -> GrpcCode {
        of_refusal(self.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_told_apart() {
        for yes in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC;charset=x",
            "application/grpc ; a=b",
        ] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/json",
        ] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn messages_are_escaped() {
        for (text, expected) in [
            ("no endpoint", "no endpoint"),
            ("100% \n", "100%25 %0A"),
            ("\u{e9}", "%C3%A9"),
        ] {
            assert_eq!(message(text.as_bytes()), expected);
        }
    }

    #[test]
    fn codes_are_read() {
        for (text, expected) in [
            ("0", GrpcCode::Ok),
            ("14", GrpcCode::Unavailable),
            ("014", GrpcCode::Unavailable),
            ("16", GrpcCode::Unauthenticated),
            ("17", GrpcCode::Unknown),
            ("", GrpcCode::Unknown),
            ("-1", GrpcCode::Unknown),
            ("+4", GrpcCode::Unknown),
            ("0000004", GrpcCode::Unknown),
            ("UNAVAILABLE", GrpcCode::Unknown),
        ] {
            assert_eq!(code(text.as_bytes()), expected, "{text}");
        }
        for code in GrpcCode::ALL {
            assert_eq!(GrpcCode::of_number(code.number().into()), Some(code));
            assert_eq!(GrpcCode::of_name(code.as_str()), Some(code));
        }
    }

    #[test]
    fn statuses_become_codes() {
        let names = |map: fn(u16) -> GrpcCode| {
            [
                400, 401, 403, 404, 408, 429, 431, 499, 500, 501, 502, 503, 504, 200,
            ]
            .map(|status| map(status).as_str())
        };
        assert_eq!(
            names(of_response),
            [
                "INTERNAL",
                "UNAUTHENTICATED",
                "PERMISSION_DENIED",
                "UNIMPLEMENTED",
                "UNKNOWN",
                "UNAVAILABLE",
                "UNKNOWN",
                "UNKNOWN",
                "UNKNOWN",
                "UNKNOWN",
                "UNAVAILABLE",
                "UNAVAILABLE",
                "UNAVAILABLE",
                "UNKNOWN",
            ]
        );
        assert_eq!(
            names(of_refusal),
            [
                "INTERNAL",
                "UNAUTHENTICATED",
                "PERMISSION_DENIED",
                "UNIMPLEMENTED",
                "INTERNAL",
                "RESOURCE_EXHAUSTED",
                "RESOURCE_EXHAUSTED",
                "CANCELLED",
                "UNAVAILABLE",
                "UNIMPLEMENTED",
                "UNAVAILABLE",
                "UNAVAILABLE",
                "DEADLINE_EXCEEDED",
                "UNKNOWN",
            ]
        );
        assert_eq!(Refusal::NoRoute.grpc_code(), GrpcCode::Unimplemented);
        assert_eq!(Refusal::NoBackend.grpc_code(), GrpcCode::Unavailable);
        let broken = Refusal::BrokenBackend("x".into());
        assert_eq!(broken.grpc_code(), GrpcCode::Unavailable);
    }
}
