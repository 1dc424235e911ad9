//! `weir plugin run`: events from standard input, a line each, and what the plugin makes of each of them.

use std::io::{self, BufRead as _};
use std::process::ExitCode;

use bumpalo::Bump;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::event::Written;
use super::stand::Stand;
use super::{Failure, Given, print};
use crate::plugin::Instance;

const AFTER_HELP: &str = "\
Example:
  echo '{\"user\": {\"id\": \"u-1\"}}' | weir plugin run my-keys
  {\"partition_key\":\"u-1\",\"verdict\":\"pass\"}

Data is in the answer only if the plugin changed it. Exit codes: 0 all were judged; 1 some line was no event.";

/// Flags of `weir plugin run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArgs {
    #[command(flatten)]
    pub given: Given,
    /// The lines are CloudEvents in structured mode, not plain JSON.
    #[arg(long)]
    pub cloudevents: bool,
}

/// `weir plugin run`.
pub(super) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let stand = Stand::new(&args.given, "info")?;
    let mut instance = Stand::instance(&stand.load()?)?;
    let mut code = ExitCode::SUCCESS;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::Other(format!("standard input: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        let judged =
            written(line.as_bytes(), args.cloudevents).and_then(|event| judge(&mut instance, &event));
        let answer = judged.map_or_else(
            |error| {
                code = ExitCode::FAILURE;
                json!({"error": error})
            },
            |answer| Value::from(answer.to_json()),
        );
        print(&format!("{answer}\n"))?;
    }
    Ok(code)
}

/// The event of one line.
pub(super) fn written(line: &[u8], cloudevents: bool) -> Result<Written, String> {
    if cloudevents { Ok(Written::cloud_event(line)) } else { Written::plain(line) }
}

fn judge(instance: &mut Instance, event: &Written) -> Result<Answer, String> {
    let arena = Bump::new();
    let answers = answer::judge(instance, &[event.read(&arena)?]);
    answers.into_iter().next().ok_or_else(|| "it gave no answer".to_owned())
}
