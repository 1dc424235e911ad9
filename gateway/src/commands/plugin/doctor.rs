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
            Ok(version) => checks.add(tool, Verdict::Good, format!("{version}: {purpose}")),
            Err(why) => checks.add(tool, absent, format!("{why}; it {purpose}: {advice}")),
        }
    }
    match rust::has_target(Path::new(".")) {
        Ok(true) => checks.add(rust::TARGET, Verdict::Good, "installed: what plugins in Rust are built for"),
        Ok(false) => {
            let advice = format!("is not installed: run `rustup target add {}`", rust::TARGET);
            checks.add(rust::TARGET, Verdict::Unavailable, advice);
        }
        Err(why) => checks.add(rust::TARGET, Verdict::Unavailable, why),
    }
    checks.conclude(args.output)
}

/// The first line of what a tool calls itself, or why it does not.
fn version(tool: &str) -> Result<String, String> {
    let output = Command::new(tool).arg("--version").output().map_err(|_| "is not there".to_owned())?;
    let first = |text: &[u8]| String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned();
    if output.status.success() {
        Ok(first(&output.stdout))
    } else {
        Err(format!("does not run ({})", first(&output.stderr)))
    }
}
