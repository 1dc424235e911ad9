//! `weir plugin doctor`: whether this machine has what building plugins needs.

use std::path::Path;
use std::process::{Command, ExitCode};

use super::checks::{Checks, Verdict};
use super::{Failure, Output, rust};

const AFTER_HELP: &str = "\
Example:
  weir plugin doctor

Exit codes: 0 plugins in Rust can be built; 1 they cannot. Other languages' tools are told of, and may be missing.";

/// Flags of `weir plugin doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// How to print what was found.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

const RUSTUP: &str = "install Rust from https://rustup.rs";
const NODE: &str = "install Node.js 20 or newer";
const PYTHON: &str = "install Python 3.11 or newer";

/// Each tool, what it is for, what its absence means, and what to do about that.
const TOOLS: [(&str, &str, Verdict, &str); 5] = [
    ("cargo", "builds plugins in Rust", Verdict::Unavailable, RUSTUP),
    ("rustc", "compiles plugins in Rust", Verdict::Unavailable, RUSTUP),
    ("node", "builds plugins in JavaScript and TypeScript", Verdict::Warning, NODE),
    ("npm", "fetches the tools for JavaScript and TypeScript", Verdict::Warning, NODE),
    ("python3", "builds plugins in Python", Verdict::Warning, PYTHON),
];

/// `weir plugin doctor`.
pub(super) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut checks = Checks::default();
    for (tool, purpose, absent, advice) in TOOLS {
        match version(tool) {
            Some(version) => checks.add(tool, Verdict::Good, format!("{version}: {purpose}")),
            None => checks.add(tool, absent, format!("is not there; it {purpose}: {advice}")),
        }
    }
    if rust::has_target(Path::new(".")).unwrap_or(false) {
        checks.add(rust::TARGET, Verdict::Good, "installed: what plugins in Rust are built for");
    } else {
        let advice = format!("is not installed: run `rustup target add {}`", rust::TARGET);
        checks.add(rust::TARGET, Verdict::Unavailable, advice);
    }
    checks.conclude(args.output)
}

/// The first line of what a tool calls itself.
fn version(tool: &str) -> Option<String> {
    let output =
        Command::new(tool).arg("--version").output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(ToOwned::to_owned)
}
