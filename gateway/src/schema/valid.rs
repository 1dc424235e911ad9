//! The mark of a check that was passed. Only this file mints it, so a stage that takes a [`ValidEvent`]
//! cannot be reached around the schema.

use std::sync::Arc;

use super::Schema;
use crate::event::Event;

/// An event that matches its schema, or whose route asks for none.
#[derive(Clone, Copy, Debug)]
pub struct ValidEvent<'a> {
    event: Event<'a>,
    schema: Option<&'a Arc<Schema>>,
}

/// Why an event is not valid.
#[derive(Debug)]
pub enum Unmatched<'a> {
    /// A schema is asked for, and the data is not JSON.
    NotJson,
    /// The data breaks this schema; both are kept for [`Schema::explain`].
    Violation(&'a Arc<Schema>, &'a [u8]),
}

impl<'a> ValidEvent<'a> {
    /// Decides by the schema, without finding out why not.
    pub fn check(event: Event<'a>, schema: &'a Arc<Schema>) -> Result<Self, Unmatched<'a>> {
        match event.root() {
            None => Err(Unmatched::NotJson),
            Some(root) if schema.check(root) => Ok(ValidEvent { event, schema: Some(schema) }),
            Some(_) => Err(Unmatched::Violation(schema, event.data())),
        }
    }

    /// An event of a route that names no subject.
    pub fn without_schema(event: Event<'a>) -> Self {
        ValidEvent { event, schema: None }
    }

    /// The event.
    pub fn event(&self) -> &Event<'a> {
        &self.event
    }

    /// The schema it matches.
    pub fn schema(&self) -> Option<&'a Arc<Schema>> {
        self.schema
    }
}
