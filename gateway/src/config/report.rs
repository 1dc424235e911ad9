//! What is wrong with a config, shown with the file, the line and a pointer at the place.
//!
//! Not the judgement itself (`typed`, `check`); and whatever looks like a secret in the text is masked first.

use std::fmt::Display;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};

use super::tree::{Node, Origin};

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whether the config can be used all the same.
    pub severity: Severity,
    /// What is wrong. Holds no secret.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    place: Place,
}

/// How a finding names its place.
#[derive(Clone, Debug)]
enum Place {
    /// By path, e.g. `routes/0/topic`.
    Path(String),
    /// By where it was written.
    Origin(Option<Origin>),
}

impl Finding {
    /// Something at `path` (e.g. `routes/0/topic`) with which the config cannot be used.
    pub(crate) fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            message: message.into(),
            help: None,
            place: Place::Path(path.into()),
        }
    }

    /// Something at `path` that is probably not meant.
    pub(crate) fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, ..Finding::error(path, message) }
    }

    /// The same, where it was written.
    pub(crate) fn at(origin: Option<Origin>, message: impl Into<String>, help: Option<String>) -> Self {
        Finding {
            severity: Severity::Error,
            message: message.into(),
            help,
            place: Place::Origin(origin),
        }
    }

    /// The same, with what to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The text a config was read from, for showing findings in it.
#[derive(Debug)]
pub(crate) struct Source {
    name: String,
    masked: String,
    root: Option<Node>,
}

impl Source {
    /// The text named `name` (a path); `root` is its tree, once there is one.
    pub(crate) fn new(name: &str, text: &str, root: Option<Node>) -> Self {
        Source { name: name.to_owned(), masked: mask(text), root }
    }

    /// The finding as people read it, over several lines.
    pub(crate) fn show(&self, finding: &Finding) -> String {
        let origin = match (&finding.place, &self.root) {
            (Place::Origin(origin), _) => origin.as_ref(),
            (Place::Path(path), Some(root)) => Some(root.locate(path.split('/'))),
            (Place::Path(_), None) => None,
        };
        let mut shown = Shown { finding, message: finding.message.clone(), source: None, label: None };
        match origin {
            Some(Origin::File { offset, length }) => {
                let start = (*offset).min(self.masked.len());
                let line_end = self.masked[start..].find('\n').map_or(self.masked.len(), |end| start + end);
                let length = (*length).max(1).min(line_end - start);
                shown.source = Some(NamedSource::new(&self.name, self.masked.clone()));
                shown.label = Some(LabeledSpan::new_with_span(Some("here".to_owned()), (start, length)));
            }
            Some(Origin::Variable(name)) => shown.message = format!("{name}: {}", finding.message),
            None => shown.message = format!("{}: {}", self.name, finding.message),
        }
        let mut text = String::new();
        // One line of the file, never its neighbours: they may hold what is nobody's business.
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_context_lines(0)
            .with_width(110);
        match handler.render_report(&mut text, &shown) {
            Ok(()) => text,
            Err(_) => format!("{}\n", shown.message),
        }
    }
}

/// A finding in miette's terms.
#[derive(Debug)]
struct Shown<'a> {
    finding: &'a Finding,
    message: String,
    source: Option<NamedSource<String>>,
    label: Option<LabeledSpan>,
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(self.finding.severity)
    }
    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn Display>)
    }
    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.label.clone().map(|label| Box::new(std::iter::once(label)) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// Keys after which a literal is probably a secret, written here against the rules.
const SECRET_KEYS: [&str; 5] = ["password", "secret", "token", "pem", "key"];

/// The text with everything masked that follows a secret's key on its line, unless it is a reference or a
/// selector; every byte keeps its place.
fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (clear, secret) = line.split_at(literal_start(line).unwrap_or(line.len()));
        masked.push_str(clear);
        masked.extend(secret.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { byte as char } else { '*' }));
    }
    masked
}

/// Where on this line a literal begins that follows a secret's key.
fn literal_start(line: &str) -> Option<usize> {
    line.match_indices(':').find_map(|(colon, _)| {
        let name = line[..colon].trim_end().trim_end_matches(['"', '\'']);
        let value = line[colon + 1..].trim();
        let harmless = value.is_empty() || value.starts_with(['{', '#']) || selector(value);
        let secret = SECRET_KEYS.iter().any(|key| name.to_ascii_lowercase().ends_with(key));
        (secret && !harmless).then_some(colon + 1)
    })
}

/// A route's `key:` is a selector, which is no secret.
fn selector(value: &str) -> bool {
    ["data:", "attr:", "header:"].iter().any(|prefix| value.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_where_they_stand() {
        for (text, masked) in [
            ("password: hunter2\n", "password:********\n"),
            ("  sasl: {username: u, password: hunter2}\n", "  sasl: {username: u, password:*********\n"),
            ("password: {env: X}\n", "password: {env: X}\n"),
            ("key: data:/repository/id\n", "key: data:/repository/id\n"),
            ("\"sasl.password\": \"h\n", "\"sasl.password\":***\n"),
            ("topic: orders\n", "topic: orders\n"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
