//! Which pages in browsers may send events and look them up.

use schemars::JsonSchema;
use serde::Deserialize;

/// Pages in browsers that may come to a route; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Browser {
    /// Origins whose pages may read answers (CORS), e.g. `https://shop.example`; `*` for all.
    pub origins: Vec<String>,
    /// JSON in `text/plain` is taken: what `navigator.sendBeacon` sends without asking first, from any page.
    pub beacon: bool,
}

impl Browser {
    /// Whether pages of this origin may read answers.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let browser = Browser { origins: vec!["https://shop.example".to_owned()], beacon: false };
        assert!(browser.allows("https://shop.example"));
        for other in ["https://shop.example.evil", "http://shop.example", "https://shop.example:444", "null"]
        {
            assert!(!browser.allows(other), "{other}");
        }
        assert!(!Browser::default().allows("https://shop.example"));
    }
}
