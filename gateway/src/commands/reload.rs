//! `weir reload`: has a running gateway read its config again.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::Failure;
use super::admin::AdminArgs;

/// Flags of `weir reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Which gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// `weir reload`.
pub fn run(args: &ReloadArgs) -> Result<ExitCode, Failure> {
    let gateway = args.admin.gateway()?;
    let answer = gateway.agent.post(gateway.url("/reload")).send_empty();
    gateway.tell(answer, text)
}

fn text(json: &Value) -> String {
    let changed: Vec<_> =
        json["changed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match changed.as_slice() {
        [] => "the config is in force; it says what it said before\n".to_owned(),
        changed => format!("the config is in force; changed: {}\n", changed.join(", ")),
    }
}
