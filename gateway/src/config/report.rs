//! What is wrong with a config, shown with the file, the line and a pointer at the place.
//!
//! Not the judgement itself (`typed`, `check`); and whatever looks like a secret in the text is masked first.

use std::fmt::Display;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    Severity, SourceCode, SourceSpan, SpanContents,
};

use super::mask::mask;
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
        Finding { severity: Severity::Error, message: message.into(), help, place: Place::Origin(origin) }
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
        let (message, line) = match origin {
            Some(Origin::File { offset, length }) => (finding.message.clone(), self.line(*offset, *length)),
            Some(Origin::Variable(name)) => (format!("{name}: {}", finding.message), None),
            None => (format!("{}: {}", self.name, finding.message), None),
        };
        let shown = Shown { finding, message, line };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(110);
        match handler.render_report(&mut text, &shown) {
            Ok(()) => text,
            Err(_) => format!("{}\n", shown.message),
        }
    }

    /// The line that holds `offset`, with `length` bytes of it marked, as far as they are on this line.
    fn line(&self, offset: usize, length: usize) -> Option<Line> {
        let offset = offset.min(self.masked.len());
        let (before, after) = (self.masked.get(..offset)?, self.masked.get(offset..)?);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(self.masked.len(), |newline| offset + newline);
        Some(Line {
            name: self.name.clone(),
            text: self.masked.get(start..end)?.to_owned(),
            number: before.matches('\n').count(),
            marked: (offset - start, length.max(1).min((end - offset).max(1))),
        })
    }
}

/// One line of the file, never its neighbours: they may hold what is nobody's business.
#[derive(Debug)]
struct Line {
    name: String,
    text: String,
    /// From 0.
    number: usize,
    /// Offset in the line, and length.
    marked: (usize, usize),
}

impl SourceCode for Line {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // The place in the header is this span's, the text is the whole line.
        let (name, text) = (self.name.clone(), self.text.as_bytes());
        let whole = SourceSpan::from((0, self.text.len()));
        let column = span.offset();
        Ok(Box::new(MietteSpanContents::new_named(name, text, whole, self.number, column, 1)))
    }
}

/// A finding in miette's terms.
#[derive(Debug)]
struct Shown<'a> {
    finding: &'a Finding,
    message: String,
    line: Option<Line>,
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
        self.line.as_ref().map(|line| line as &dyn SourceCode)
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some("here".to_owned()), self.line.as_ref()?.marked);
        Some(Box::new(std::iter::once(label)))
    }
}
