//! The same changes, written as the heads of HTTP/2.
//!
//! Heads were checked when they were read; what `http` still refuses is dropped with the field, or
//! fails the exchange where it is the target.

use http::header::{CONTENT_LENGTH, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, uri,
};

use super::{INFORMATIONAL, RequestChanges, ResponseChanges, each_field};
use crate::h1::{Framing, Kind, RequestHead, ResponseHead};

/// The head of a request that goes upstream.
///
/// # Errors
/// Method, target or Host are not ones that HTTP/2 can carry.
pub fn request(
    head: &RequestHead,
    changes: &RequestChanges<'_>,
) -> Result<Request<()>, http::Error> {
    let mut parts = uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(changes.host)?);
    parts.path_and_query = Some(PathAndQuery::try_from(changes.target)?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(head.method().as_bytes())?;
    *request.uri_mut() = Uri::from_parts(parts)?;
    *request.version_mut() = Version::HTTP_2;
    let map = request.headers_mut();
    each_field(
        &head.bytes,
        &head.fields,
        changes.changes,
        changes.strip,
        |name, value, _| append(map, name, value),
    );
    if head.takes_trailers() {
        map.insert(TE, HeaderValue::from_static("trailers"));
    }
    frame(map, changes.framing);
    append_all(map, changes.append);
    Ok(request)
}

/// The head of a response that goes downstream.
pub fn response(head: &ResponseHead, changes: &ResponseChanges<'_>) -> Response<()> {
    let mut response = empty(head.status());
    let map = response.headers_mut();
    each_field(
        &head.bytes,
        &head.fields,
        changes.changes,
        changes.strip,
        |name, value, _| append(map, name, value),
    );
    match (changes.framing, head.declared_length()) {
        (Framing::Empty, Some(length)) => frame(map, Framing::Length(length)),
        (framing, _) => frame(map, framing),
    }
    append_all(map, changes.append);
    response
}

/// A 1xx head on its way down.
pub fn informational(head: &ResponseHead) -> Response<()> {
    response(head, &INFORMATIONAL)
}

/// The head of an answer that the mesh makes itself.
pub fn reply(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut response = empty(status);
    append_all(response.headers_mut(), fields);
    response
}

fn empty(status: u16) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.version_mut() = Version::HTTP_2;
    response
}

fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    let name = HeaderName::from_bytes(name);
    let value = HeaderValue::from_bytes(value);
    if let (Ok(name), Ok(value)) = (name, value) {
        map.append(name, value);
    }
}

/// Fields of the mesh, without those that belong to an HTTP/1.1 connection.
fn append_all(map: &mut HeaderMap, fields: &[(&str, &str)]) {
    let fields = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    for (name, value) in fields.filter(|(name, _)| !Kind::of(name).is_own()) {
        append(map, name, value);
    }
}

fn frame(map: &mut HeaderMap, framing: Framing) {
    if let Framing::Length(length) = framing {
        map.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
