//! What a client would like, if we can (RFC 7240): `Prefer: return=minimal, handling=strict, wait=5`.

use http::HeaderMap;
use http::header::HeaderName;

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The value of a preference; the first one counts (RFC 7240 §2). Empty if it has none.
pub(super) fn preference<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|preference| {
        let preference = preference.split(';').next()?;
        let (known, value) = preference.split_once('=').unwrap_or((preference, ""));
        known.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_of_a_name_counts_wherever_it_stands() {
        let mut headers = HeaderMap::new();
        headers.append(PREFER, HeaderValue::from_static("respond-async, Return = \"minimal\"; x=1"));
        headers.append(PREFER, HeaderValue::from_static("return=representation, wait=5"));
        assert_eq!(preference(&headers, "return"), Some("minimal"));
        assert_eq!(preference(&headers, "wait"), Some("5"));
        assert_eq!(preference(&headers, "respond-async"), Some(""));
        assert_eq!(preference(&headers, "handling"), None);
    }
}
