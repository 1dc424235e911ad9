//! The exports of a plugin, for any [`Plugin`]. Only in WebAssembly; natively [`testing`](crate::testing)
//! stands in for it.

use crate::bindings::exports::weir::plugin::lifecycle::{Binding, Error as WireError, Info};
use crate::bindings::exports::weir::plugin::processor::{Batch, Output};
use crate::log::{self, Level};
use crate::plugin::{Error, Plugin, configured, judge};
use crate::batch::Columns;

pub use crate::bindings::exports::weir::plugin::{lifecycle, processor};

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        WireError { code: error.code, message: error.message, retryable: false }
    }
}

/// `describe` of the contract.
pub fn describe<P: Plugin>(name: &str, version: &str, config_json: &str) -> Result<Info, WireError> {
    report_panics();
    let plugin: P = configured(config_json)?;
    Ok(Info {
        name: name.to_owned(),
        version: version.to_owned(),
        sdk: concat!("weir-plugin ", env!("CARGO_PKG_VERSION")).to_owned(),
        fields: plugin.fields(),
        needs_payload: plugin.needs_payload(),
        roles: P::ROLES.iter().map(|role| role.name().to_owned()).collect(),
        max_batch: plugin.max_batch(),
        meta: Vec::new(),
    })
}

/// `init` of the contract.
pub fn init<P: Plugin>(binding: &Binding) -> Result<P, WireError> {
    report_panics();
    Ok(configured(&binding.config_json)?)
}

/// `health` of the contract.
pub fn health<P: Plugin>(plugin: Option<&P>) -> Result<(), WireError> {
    Ok(plugin.ok_or_else(not_bound)?.health()?)
}

/// `process` of the contract.
pub fn process<P: Plugin>(plugin: Option<&P>, batch: &Batch) -> Result<Output, WireError> {
    let plugin = plugin.ok_or_else(not_bound)?;
    let columns = Columns {
        arena: &batch.arena,
        spans: &batch.spans,
        kinds: &batch.kinds,
        stride: (batch.stride as usize).max(1),
        times: &batch.times,
    };
    let answer = judge(plugin, columns.events());
    Ok(Output { arena: answer.arena, actions: answer.actions, ops: answer.ops })
}

fn not_bound() -> Error {
    Error { code: Error::NOT_BOUND, message: "called before init".to_owned() }
}

/// A panic is a trap without a word, unless it is written down before.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| log::write(Level::Error, &panic.to_string())));
}
