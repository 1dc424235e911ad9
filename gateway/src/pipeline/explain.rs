//! Why events do not match their schemas: found out off the worker, and only for the first few of a request.

use std::sync::Arc;

use super::accepted::Draft;
use crate::event::{Limits, Parser};
use crate::problem::{Code, Problem};
use crate::schema::Schema;

/// Violations explained in one answer; explaining costs far more than refusing.
const EXPLAINED_MAX: usize = 20;

/// Explains the first violations of a request, off the worker: it can take a thousand times as long as
/// finding that there is one.
pub(super) async fn explain(drafts: &[Draft], limits: Limits) -> Vec<Problem> {
    let violations = drafts.iter().filter_map(|draft| match draft {
        Draft::Violation(schema, data) => Some((Arc::clone(schema), data.clone())),
        Draft::Sent(..) | Draft::Ended(_) => None,
    });
    let wanted: Vec<_> = violations.take(EXPLAINED_MAX).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let explaining = tokio::task::spawn_blocking(move || {
        let mut parser = Parser::new(limits);
        let explain = |(schema, data): &(Arc<Schema>, Box<[u8]>)| {
            let arena = bumpalo::Bump::new();
            let violations = parser.document(&arena, data).map(|document| schema.explain(document.root()));
            violation(schema).with_violations(violations.unwrap_or_default())
        };
        wanted.iter().map(explain).collect()
    });
    explaining.await.unwrap_or_default()
}

pub(super) fn violation(schema: &Schema) -> Problem {
    Problem::new(Code::SchemaViolation, format!("the event does not match {}", schema.header()))
}
