//! Lookups that are only answered if there is something new (RFC 9110 §13.1.2), and that may wait for it (RFC 7240
//! §4.3). It only reads headers and compares tags.

use std::time::Duration;

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

use super::preferences::preference;

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What a client knows already, and how long it would wait for something else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    known: Option<String>,
    /// 0: it would not.
    pub(super) wait: Duration,
}

impl Conditions {
    /// Those of a request. What cannot be read is no condition.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let known = tags.collect::<Vec<_>>().join(",");
        let wait = preference(headers, "wait").and_then(|seconds| seconds.parse().ok());
        Conditions {
            known: Some(known).filter(|known| !known.is_empty()),
            wait: Duration::from_secs(wait.unwrap_or(0)).min(WAIT_MAX),
        }
    }

    /// Whether the client has what this tag is of. Tags are compared weakly, as is due for GET.
    pub(super) fn knows(&self, etag: &str) -> bool {
        fn opaque(tag: &str) -> &str {
            tag.strip_prefix("W/").unwrap_or(tag)
        }
        let known = self.known.iter().flat_map(|known| known.split(','));
        known.map(str::trim).any(|known| known == "*" || opaque(known) == opaque(etag))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;
    use crate::http::preferences::PREFER;

    fn of(headers: &[(HeaderName, &'static str)]) -> Conditions {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        Conditions::of(&map)
    }

    #[test]
    fn tags_are_compared_weakly_and_a_star_knows_all() {
        let conditions = of(&[(IF_NONE_MATCH, "\"a\", W/\"b\""), (IF_NONE_MATCH, "\"c\"")]);
        for known in ["\"a\"", "W/\"a\"", "\"b\"", "W/\"c\""] {
            assert!(conditions.knows(known), "{known}");
        }
        assert!(!conditions.knows("\"d\"") && !Conditions::default().knows("\"a\""));
        assert!(of(&[(IF_NONE_MATCH, "*")]).knows("\"d\""));
    }

    #[test]
    fn a_wait_is_bounded_and_what_is_none_is_left_alone() {
        let wait = |value| of(&[(PREFER, value)]).wait.as_secs();
        assert_eq!(wait("wait=5"), 5);
        assert_eq!(wait("return=minimal, Wait = \"7\"; x=1"), 7);
        assert_eq!(wait("wait=86400"), 30);
        for none in ["wait", "wait=soon", "wait=-1", "respond-async"] {
            assert_eq!(wait(none), 0, "{none}");
        }
    }
}
