//! What a client would like, if we can: `Prefer: return=minimal, handling=strict, wait=5` (RFC 7240), and which kind of
//! answer (`Accept`, RFC 9110 §12.5.1).

use http::HeaderMap;
use http::header::{ACCEPT, HeaderName};

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

/// Whether a client asks for this media type by its name, and not with a weight of nothing.
pub(super) fn asks_for(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
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

    #[test]
    fn a_kind_of_answer_is_asked_for_by_name() {
        let asked = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(value));
            asks_for(&headers, "text/event-stream")
        };
        assert!(asked("text/event-stream") && asked("application/json, Text/Event-Stream; q=0.5"));
        for value in ["*/*", "text/*", "application/json", "text/event-stream;q=0"] {
            assert!(!asked(value), "{value}");
        }
        assert!(!asks_for(&HeaderMap::new(), "text/event-stream"));
    }
}
