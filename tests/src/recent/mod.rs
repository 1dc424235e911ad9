//! Long looks at recent-event lookups. Each prints a table and leaves its figures as JSON under `target`.

pub mod chaos;
pub mod figures;
