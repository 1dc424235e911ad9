//! The registry subject of an event, written with places for its attributes.

use crate::event::Attributes;

/// A registry subject with places for attributes: `github.{type}`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Attribute(String),
}

/// A `{` without its `}`, or a place that is no attribute's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a subject: write it as text with attributes in it, e.g. `github.{{type}}`")]
pub struct TemplateError(String);

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let error = || TemplateError(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) =
                after.split_once('}').filter(|(name, _)| is_attribute(name)).ok_or_else(error)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Attribute(name.to_owned()));
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() || rest.contains('}') { Err(error()) } else { Ok(Template(parts)) }
    }
}

/// CloudEvents attribute names: lower-case letters and digits.
fn is_attribute(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl Template {
    /// The subject of one event, written over `subject`; `None` when it lacks an attribute.
    pub fn fill<'s>(&self, attributes: &Attributes<'_>, subject: &'s mut String) -> Option<&'s str> {
        subject.clear();
        for part in &self.0 {
            match part {
                Part::Text(text) => subject.push_str(text),
                Part::Attribute(name) => subject.push_str(attributes.get(name)?),
            }
        }
        Some(subject)
    }

    /// The subject, if it is the same for every event.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes<'static> {
        Attributes {
            id: "1",
            source: "https://github.com/acme",
            event_type: "push",
            ce_subject: None,
            time: None,
            dataschema: None,
            content_type: "application/json",
            extensions: &[("ce_tenant", "t1")],
        }
    }

    #[test]
    fn subjects_are_filled_from_attributes() {
        let fill = |text: &str| {
            let template: Template = text.parse().expect(text);
            template.fill(&attributes(), &mut String::new()).map(str::to_owned)
        };
        assert_eq!(fill("orders.created").as_deref(), Some("orders.created"));
        assert_eq!(fill("github.{type}").as_deref(), Some("github.push"));
        assert_eq!(fill("{tenant}/{type}").as_deref(), Some("t1/push"));
        assert_eq!(fill("x.{subject}"), None);
        for text in ["", "a{", "a{}", "a}", "a{Type}"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }
}
