//! `weir plugin …`: what plugin authors do before a gateway sees their plugin, with its own engine and limits.
//!
//! Asks no service and reads no gateway's config. A language's part is one row of `language`.

mod answer;
mod bench;
mod build;
mod check;
mod doctor;
mod event;
mod fixture;
mod generated;
mod inspect;
mod language;
mod new;
mod run;
mod rust;
mod scripted;
mod stand;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Failure, Output, checks, print};

const AFTER_HELP: &str = "\
From nothing to a tested plugin:
  weir plugin new --lang rust my-keys && cd my-keys
  weir plugin test
  weir plugin bench";

/// What is to be done.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct PluginArgs {
    /// New, build, test, ….
    #[command(subcommand)]
    pub action: PluginAction,
}

/// The tools of plugin authors.
#[derive(Debug, Subcommand)]
pub enum PluginAction {
    /// Make the folder of a new plugin, which builds and passes its own tests.
    New(new::NewArgs),
    /// Build the plugin of a folder, and see whether a gateway would load it.
    Build(build::BuildArgs),
    /// Run a plugin over the events in `tests/*.in.json`, and compare with `tests/*.out.json`.
    Test(test::TestArgs),
    /// Run a plugin over the events on standard input, a line each, and print what it makes of them.
    Run(run::RunArgs),
    /// Measure what an event costs: CPU time, and bytes that cross into the plugin and back.
    Bench(bench::BenchArgs),
    /// Tell what a plugin is without running it; with `--config`, also what it says of itself.
    Inspect(inspect::InspectArgs),
    /// Look for what a gateway would hold against a plugin: breakdowns, and verdicts that are not pure.
    Check(check::CheckArgs),
    /// See whether this machine has what building plugins needs.
    Doctor(doctor::DoctorArgs),
}

/// Which plugin, and how a route would use it.
#[derive(Clone, Debug, Args)]
pub struct Given {
    /// The plugin's folder, which is built first, or its `.wasm`.
    #[arg(value_name = "FOLDER|FILE", default_value = ".")]
    pub plugin: PathBuf,
    /// The route's config for it; if not given, that of a `config.json` in its folder or in `tests`, else {}.
    #[arg(short, long, value_name = "JSON|@FILE")]
    pub config: Option<String>,
    /// A topic that the route allows plugins to choose; once for each.
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// A table that enrichers may look into, once for each; beside them, every `tests/tables/NAME.json`.
    #[arg(long = "table", value_name = "NAME=FILE")]
    pub tables: Vec<String>,
}

/// Runs one of them.
pub fn run(args: &PluginArgs) -> Result<ExitCode, Failure> {
    match &args.action {
        PluginAction::New(args) => new::run(args),
        PluginAction::Build(args) => build::run(args),
        PluginAction::Test(args) => test::run(args),
        PluginAction::Run(args) => run::run(args),
        PluginAction::Bench(args) => bench::run(args),
        PluginAction::Inspect(args) => inspect::run(args),
        PluginAction::Check(args) => check::run(args),
        PluginAction::Doctor(args) => doctor::run(args),
    }
}
