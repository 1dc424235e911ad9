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
    /// The same with this as its parent, if there is one.
    pub fn within(self, parent: Option<&'a str>) -> Self {
        Trace { parent: parent.or(self.parent), ..self }
    }

    /// That of a request. What is not well formed is no trace (Trace Context §2.2.3), never an error.
    pub fn of(headers: &'a Headers) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let parent = text("traceparent").filter(|parent| Parent::of(parent).is_some());
        let state = parent.and_then(|_| text("tracestate")).filter(|state| state.len() <= STATE_BYTES_MAX);
        Trace { parent, state }
    }
}

/// A well-formed `traceparent` (Trace Context §3.2), taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'a> {
    /// The trace, in hexadecimal digits.
    pub trace: &'a str,
    span: &'a str,
    /// Whether its caller records it.
    pub sampled: bool,
}

impl<'a> Parent<'a> {
    /// That of a header's value, if it is well formed.
    pub fn of(text: &'a str) -> Option<Self> {
        let is_hex = |part: &str, digits| {
            part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
        let mut parts = text.split('-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let formed = is_hex(version, 2) && version != "ff" && is_id(trace, 32) && is_id(span, 16);
        if !formed || !is_hex(flags, 2) || parts.next().is_some() {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        Some(Parent { trace, span, sampled })
    }

    /// The trace's id.
    pub fn trace_id(&self) -> u128 {
        u128::from_str_radix(self.trace, 16).unwrap_or_default()
    }

    /// The id of the caller's span.
    pub fn span_id(&self) -> u64 {
        u64::from_str_radix(self.span, 16).unwrap_or_default()
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
        let parent = Parent::of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("one");
        assert_eq!(
            (parent.trace_id() >> 112, parent.span_id() & 0xfff, parent.sampled),
            (0x4bf9, 0x2b7, true)
        );
        for malformed in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-00",
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
