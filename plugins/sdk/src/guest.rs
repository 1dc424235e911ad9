//! The exports of a plugin, for anything [`Bound`]. Only in WebAssembly; natively
//! [`testing`](crate::testing) stands in for it.

use crate::batch::Columns;
use crate::bindings::exports::weir::plugin::lifecycle::{Binding, Error as WireError, Info};
use crate::bindings::exports::weir::plugin::processor::{Batch, Output};
use crate::bound::Bound;
use crate::error::Error;
use crate::log;
use crate::section::SDK;

pub use crate::bindings::exports::weir::plugin::{lifecycle, processor};

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        WireError { code: error.code, message: error.message, retryable: error.retryable }
    }
}

/// `describe` of the contract.
pub fn describe<B: Bound>(name: &str, version: &str, config_json: &str) -> Result<Info, WireError> {
    report_panics();
    let bound = B::configured(config_json)?;
    Ok(Info {
        name: name.to_owned(),
        version: version.to_owned(),
        sdk: SDK.to_owned(),
        fields: bound.fields(),
        needs_payload: bound.needs_payload(),
        roles: B::ROLES.iter().map(|role| role.name().to_owned()).collect(),
        max_batch: bound.max_batch(),
        meta: Vec::new(),
    })
}

/// `init` of the contract.
pub fn init<B: Bound>(binding: &Binding) -> Result<B, WireError> {
    report_panics();
    let mut bound = B::configured(&binding.config_json)?;
    bound.open()?;
    Ok(bound)
}

/// `health` of the contract.
pub fn health<B: Bound>(bound: Option<&B>) -> Result<(), WireError> {
    Ok(bound.ok_or_else(Error::not_bound)?.health()?)
}

/// `process` of the contract.
pub fn process<B: Bound>(bound: Option<&B>, batch: &Batch) -> Result<Output, WireError> {
    let bound = bound.ok_or_else(Error::not_bound)?;
    let columns = Columns {
        arena: &batch.arena,
        spans: batch.spans.as_chunks().0,
        kinds: &batch.kinds,
        stride: (batch.stride as usize).max(1),
        times: &batch.times,
    };
    let answer = bound.judge(columns)?;
    Ok(Output { arena: answer.arena, actions: answer.actions, ops: answer.ops })
}

/// A panic is a trap without a word, unless it is written down before, with its message and place.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
}
