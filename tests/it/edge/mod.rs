//! What is wrong at the edge: bad requests and bad bodies, over HTTP/1.1 and HTTP/2. Each is answered by name or its
//! connection ended, none is stored, and after each a good request succeeds.
//!
//! The rows of `rows.rs` are numbered as the list of bad inputs that the gateway was designed against; where its answer
//! is another than that list's, `differs.rs` says why.

pub(crate) mod budget;
pub(crate) mod compressed;
mod connections;
mod differs;
mod floods;
mod framing;
pub(crate) mod gate;
mod json_suite;
mod order;
mod rows;
mod slow;
pub(crate) mod wire;
