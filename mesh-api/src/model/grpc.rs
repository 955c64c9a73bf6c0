//! gRPC's status codes and the name of a call.

use std::fmt;

use crate::model::path::TextMatch;

/// A gRPC status code (gRPC core `statuscodes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum GrpcCode {
    /// Success.
    Ok = 0,
    /// The caller went away.
    Cancelled = 1,
    /// Not told.
    Unknown = 2,
    /// The request makes no sense.
    InvalidArgument = 3,
    /// The time was up.
    DeadlineExceeded = 4,
    /// What was asked for is not there.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// A quota or limit is used up.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// Another change came between.
    Aborted = 10,
    /// Beyond the valid range.
    OutOfRange = 11,
    /// No such call here.
    Unimplemented = 12,
    /// Broken inside.
    Internal = 13,
    /// Not now; try again.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl GrpcCode {
    /// Every code, by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// As `grpc-status` says it.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code of a number.
    pub fn of_number(number: u32) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|code| u32::from(code.number()) == number)
    }

    /// As gRPC names it: `UNAVAILABLE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The code of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for GrpcCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A condition on a call, which is the path `/service/method` (Gateway API `GRPCMethodMatch`).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CallMatch {
    /// On the service with its package; none: any.
    pub service: Option<TextMatch>,
    /// On the method; none: any.
    pub method: Option<TextMatch>,
}
