//! Where a value is taken from: the event's data, one of its attributes, or a header of its request.
//! A selector is parsed when the config or a plugin is loaded, never on an event's path.

use std::fmt;
use std::str::FromStr;

use super::document::{BadPointer, Pointer};

/// `data:/user/id`, `attr:type` or `header:x-tenant`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum Selector {
    /// A JSON pointer into the event's data.
    Data(Pointer),
    /// A CloudEvents attribute by its name.
    Attribute(String),
    /// A header of the request, in lower case.
    Header(String),
}

/// Why a text is not a selector.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    /// No known prefix.
    #[error("`{0}` is not a selector: write `data:/json/pointer`, `attr:name` or `header:name`")]
    Prefix(String),
    /// The part behind `data:`.
    #[error("`data:{0}`: {1}: write `data:/{0}`")]
    Pointer(String, BadPointer),
    /// The part behind `attr:`.
    #[error("`{0}` is not an attribute name: only a-z and 0-9")]
    Attribute(String),
    /// The part behind `header:`.
    #[error("`{0}` is not a header name")]
    Header(String),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if let Some(pointer) = text.strip_prefix("data:") {
            let parsed = pointer.parse().map_err(|why| SelectorError::Pointer(pointer.to_owned(), why));
            return parsed.map(Selector::Data);
        }
        if let Some(name) = text.strip_prefix("attr:") {
            let named =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            return named
                .then(|| Selector::Attribute(name.to_owned()))
                .ok_or_else(|| SelectorError::Attribute(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("header:") {
            let parsed = http::HeaderName::from_bytes(name.as_bytes());
            return parsed
                .map(|name| Selector::Header(name.as_str().to_owned()))
                .map_err(|_| SelectorError::Header(name.to_owned()));
        }
        Err(SelectorError::Prefix(text.to_owned()))
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Data(pointer) => write!(f, "data:{pointer}"),
            Selector::Attribute(name) => write!(f, "attr:{name}"),
            Selector::Header(name) => write!(f, "header:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_three_places() {
        for text in ["data:/user/id", "data:", "attr:type", "header:x-tenant"] {
            assert_eq!(text.parse::<Selector>().expect(text).to_string(), text);
        }
        assert_eq!("header:X-Tenant".parse(), Ok(Selector::Header("x-tenant".into())));
    }

    #[test]
    fn says_what_to_write_instead() {
        for text in ["/user/id", "data:user", "attr:Type", "attr:", "header:", "header:a b"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
