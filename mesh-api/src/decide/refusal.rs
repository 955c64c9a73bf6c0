//! The text of `mesh-error`, the field on every response that the mesh itself makes.

/// The name of the field.
pub const MESH_ERROR: &str = "mesh-error";

/// The `origin` of what the caller's proxy answers.
pub const OUTBOUND: &str = "outbound";

/// The `origin` of what the receiver's proxy answers.
pub const INBOUND: &str = "inbound";

/// `origin=...; reason=...`, and `; policy=...` where a policy decided.
///
/// Bytes that would break the field's grammar are left out of every part.
pub fn mesh_error_value(origin: &str, reason: &str, policy: Option<&str>) -> String {
    let mut value = String::with_capacity(64);
    for (key, part) in [
        ("origin", Some(origin)),
        ("reason", Some(reason)),
        ("policy", policy),
    ] {
        let Some(part) = part else { continue };
        if !value.is_empty() {
            value.push_str("; ");
        }
        value.push_str(key);
        value.push('=');
        value.extend(
            part.chars()
                .filter(|c| c.is_ascii_graphic() && *c != ';')
                .take(256),
        );
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_break_the_field() {
        let plain = mesh_error_value("client-proxy", "no-route", None);
        assert_eq!(plain, "origin=client-proxy; reason=no-route");
        let hostile = mesh_error_value("a\r\nb", "c;d", Some("demo/p"));
        assert_eq!(hostile, "origin=ab; reason=cd; policy=demo/p");
    }
}
