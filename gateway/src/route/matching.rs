//! Which route takes an event: by its path, or by the attributes of a CloudEvent.

use std::sync::Arc;

use super::Route;
use crate::access::{Action, Identity, authorize};
use crate::event::Attributes;
use crate::problem::{Code, Problem};

/// Globs (`*` for any run of characters) over attributes; an absent one takes everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Over `type`.
    pub event_type: Option<String>,
    /// Over `source`.
    pub source: Option<String>,
}

impl Match {
    /// Whether a CloudEvent with this type and source is meant.
    pub fn takes(&self, event_type: &str, source: &str) -> bool {
        let within =
            |glob: &Option<String>, text| glob.as_deref().is_none_or(|glob| matches_glob(glob, text));
        within(&self.event_type, event_type) && within(&self.source, source)
    }

    /// Whether it takes anything at all on `/v1/events`; a route without globs is reached by its path only.
    pub fn is_open(&self) -> bool {
        self.event_type.is_some() || self.source.is_some()
    }
}

/// Linear-time glob: remembers only the last star.
fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, t));
            g += 1;
        } else if glob.get(g) == Some(&text[t]) {
            (g, t) = (g + 1, t + 1);
        } else if let Some((star_g, star_t)) = star {
            star = Some((star_g, star_t + 1));
            (g, t) = (star_g + 1, star_t + 1);
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

/// All routes, in the order of the config: the first that takes an event wins.
#[derive(Clone, Debug, Default)]
pub struct Routes(Vec<Arc<Route>>);

impl Routes {
    /// The routes in order.
    pub fn new(routes: Vec<Route>) -> Self {
        Routes(routes.into_iter().map(Arc::new).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.iter()
    }

    /// The route of `POST /v1/events/{path}`.
    pub fn at_path(&self, path: &str) -> Option<&Arc<Route>> {
        self.0.iter().find(|route| &*route.path == path)
    }

    /// The route of a CloudEvent, of those that its sender may send to.
    pub fn matching(&self, attributes: &Attributes<'_>, sender: &Identity) -> Result<&Arc<Route>, Problem> {
        let takes = |route: &&Arc<Route>| {
            route.matching.is_open()
                && !route.signed
                && route.matching.takes(attributes.event_type, attributes.source)
                && authorize(sender, Action::Ingest, &route.resource()).is_ok()
        };
        let detail = "no route matches this event's `type` and `source`; post it to /v1/events/{route}";
        self.0.iter().find(takes).ok_or_else(|| Problem::new(Code::UnknownRoute, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_any_run_of_characters() {
        let cases = [
            ("*", "", true),
            ("com.github.*", "com.github.push", true),
            ("com.github.*", "com.gitlab.push", false),
            ("*.push", "com.github.push", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("push", "push", true),
            ("push", "pushed", false),
        ];
        for (glob, text, taken) in cases {
            assert_eq!(matches_glob(glob, text), taken, "{glob} {text}");
        }
        assert!(!matches_glob(&"*a".repeat(50), &"a".repeat(49)), "and in linear time");
    }
}
