//! Every refusal of the codec in one table: kind, status, `mesh-error` reason, text.
//!
//! A refused head was never forwarded; a refused body never ends upstream, and neither connection
//! is used again. The status is what a client is told; a refused *response* is always told as 502.

use std::{fmt, io};

macro_rules! refusals {
    ($($kind:ident $status:literal $reason:literal $text:literal;)*) => {
        /// Why a message is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $(#[doc = $text] $kind,)*
        }

        impl Refusal {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The status of the answer to a refused request.
            pub fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// The `reason` of `mesh-error`, metrics and logs.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$kind => $reason,)* }
            }

            /// What is wrong, as a sentence without a full stop.
            pub fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }
    };
}

refusals! {
    // lines (RFC 9112 section 2.2)
    BareLf 400 "bad-line" "a line ends with LF alone";
    BareCr 400 "bad-line" "CR is not followed by LF";
    Nul 400 "bad-line" "the head holds a NUL";
    LeadingLines 400 "bad-line" "more than one empty line comes before the request";
    // the start line (RFC 9112 sections 3 and 4)
    BadMethod 400 "bad-request-line" "the method is not a token of at most 32 characters";
    BadTarget 400 "bad-request-line" "the target is not one its method may have, or holds characters a target cannot";
    TargetTooLong 414 "target-too-long" "the target is longer than 16 KiB";
    BadVersion 400 "bad-request-line" "the request line does not end with HTTP/1.1 or HTTP/1.0";
    OtherVersion 505 "bad-version" "the version is neither HTTP/1.1 nor HTTP/1.0";
    Http2Preface 505 "bad-version" "HTTP/2 starts where HTTP/1.1 is expected";
    BadStatusLine 502 "bad-response" "the status line is not HTTP/1.x, a status of 100 to 599 and a reason";
    // fields (RFC 9112 section 5)
    Fold 400 "bad-field" "a field line is folded or starts with whitespace";
    BadFieldName 400 "bad-field" "a field name is not a token followed by a colon";
    BadFieldValue 400 "bad-field" "a field value holds a control character";
    HeadTooLarge 431 "head-too-large" "the head is larger than 64 KiB";
    TooManyFields 431 "head-too-large" "the head has more than 100 fields";
    SeveralCredentials 400 "bad-field" "there is more than one Authorization";
    ProtectedOption 400 "bad-field" "Connection names a field that must not be dropped";
    ManyOptions 400 "bad-field" "Connection lists more than 32 options";
    BadExpectation 417 "bad-expectation" "Expect is not 100-continue";
    // Host (RFC 9112 section 3.2)
    MissingHost 400 "bad-host" "an HTTP/1.1 request has no Host";
    SeveralHosts 400 "bad-host" "there is more than one Host";
    BadHost 400 "bad-host" "Host is not a name or address with an optional port";
    HostMismatch 400 "bad-host" "Host differs from the authority of the target";
    // framing (RFC 9112 section 6)
    LengthAndEncoding 400 "bad-framing" "there are both Content-Length and Transfer-Encoding";
    SeveralLengths 400 "bad-framing" "there is more than one Content-Length";
    BadLength 400 "bad-framing" "Content-Length is not a number that fits 63 bits";
    BadEncoding 400 "bad-framing" "Transfer-Encoding is not exactly chunked, once";
    EncodingInOld 400 "bad-framing" "HTTP/1.0 has no Transfer-Encoding";
    ForbiddenContent 400 "bad-framing" "this message cannot have content";
    // content (RFC 9112 section 7.1)
    BadChunkSize 400 "bad-body" "a chunk size is not 1 to 16 hexadecimal digits";
    ChunkTooLarge 400 "bad-body" "a chunk size does not fit 63 bits";
    BadChunkExtension 400 "bad-body" "a chunk extension holds a control character or ends without CRLF";
    ChunkExtensionTooLong 400 "bad-body" "a chunk extension is longer than 256 bytes, or all together than 16 KiB";
    BadChunkEnd 400 "bad-body" "chunk data is not followed by CRLF";
    BadTrailer 400 "bad-body" "a trailer is malformed, or a field that cannot be one";
    TrailersTooLarge 400 "bad-body" "the trailers are larger than 16 KiB or more than 64";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a message could not be read. The connection is not used again, except to say so.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is malformed, ambiguous or too large.
    #[error("message refused: {0}")]
    Refused(Refusal),
    /// The peer closed inside it.
    #[error("connection closed inside a message")]
    Cut,
    /// The connection failed.
    #[error("connection failed")]
    Io(#[from] io::Error),
}

impl Fault {
    /// The refusal, if the peer's bytes are at fault.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(*refusal),
            Self::Cut | Self::Io(_) => None,
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why a response could not be read.
#[derive(Debug, thiserror::Error)]
#[error("no response")]
pub struct ResponseFault {
    /// True if a byte of the response had arrived: the request must not be sent again.
    pub started: bool,
    /// True if the peer is known to have processed nothing of the request.
    pub unsent: bool,
    /// What happened.
    #[source]
    pub fault: Fault,
}
