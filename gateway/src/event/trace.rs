//! The trace that a request is part of (W3C Trace Context). It goes on with the record, as the hop it is: the event's own
//! trace attributes tell where the event began, and stay as they are.

use super::Headers;

const STATE_BYTES_MAX: usize = 512;

/// The `traceparent` and `tracestate` of a request, if they are well formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace<'a> {
    /// `00-<trace id>-<span id>-<flags>`.
    pub parent: Option<&'a str>,
    /// What vendors added; only with a parent.
    pub state: Option<&'a str>,
}

impl<'a> Trace<'a> {
    /// That of a request. What is not well formed is no trace (Trace Context §2.2.3), never an error.
    pub fn of(headers: &'a Headers) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let parent = text("traceparent").filter(|parent| is_parent(parent));
        let state = parent.and_then(|_| text("tracestate")).filter(|state| state.len() <= STATE_BYTES_MAX);
        Trace { parent, state }
    }
}

/// The trace that a `traceparent` names, if it is well formed.
pub fn trace_id(parent: &str) -> Option<&str> {
    parent.get(3..35).filter(|_| is_parent(parent))
}

fn is_parent(text: &str) -> bool {
    let is_hex = |part: &str, digits| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [version, trace, span, flags] => {
            is_hex(version, 2) && *version != "ff" && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_well_formed_goes_on() {
        let of = |parent: &'static str| {
            let mut headers = Headers::new();
            headers.insert("traceparent", http::HeaderValue::from_static(parent));
            headers.insert("tracestate", http::HeaderValue::from_static("a=1"));
            let trace = Trace::of(&headers);
            (trace.parent.is_some(), trace.state.is_some())
        };
        assert_eq!(of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), (true, true));
        for malformed in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(malformed), (false, false), "{malformed}");
        }
    }
}
