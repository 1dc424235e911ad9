//! The command line: what `weir` is asked to do, and the commands that do their work and end.
//!
//! The roles that stay, `serve` and `dev`, are not here; `main` brings them together with their flags.

pub mod admin;
pub mod checks;
pub mod keys;
pub mod plugin;
pub mod recent;
pub mod reload;
pub mod test;
pub mod topics;
pub mod validate;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Loaded};

/// A WebAssembly-extensible event gateway: HTTP in, schema and plugins, Kafka out, recent events looked up.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
First steps:
  weir dev                               everything in one process: no Kafka, no Valkey needed
  weir validate -c weir.yaml             what is wrong with a config, and with what it points to
  weir test -c weir.yaml                 run the tests beside its routes
  weir topics create -c weir.yaml        make the routes' topics
  weir serve -c weir.yaml                take events
  weir plugin new --lang rust my-keys    begin a plugin
  weir recent status                     how far lookups reach in a running gateway
  weir reload                            another config in force, without a restart
  weir keys new --id shop --role write   a key for a client, and its stanza for the config
  weir config schema > weir.schema.json  the config's keys, for your editor

Any key of the config can be set from the environment, as YAML: WEIR__KAFKA__BROKERS='[\"kafka-0:9092\"]'.
Exit codes: 0 good; 64 the config or the command line is wrong; 1 anything else.";

/// What `weir` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take events and answer lookups, until SIGTERM.
    ///
    /// Starts also while Kafka is away (then /readyz says 503), and ends with 64 if a topic is too weak to
    /// keep what is acked.
    Serve(ServeArgs),
    /// Try everything in one process: a Kafka inside, an example route, nothing to install, nothing kept.
    Dev(DevArgs),
    /// Check a config, its schemas and plugins, and whether Kafka, the topics and Valkey answer.
    Validate(ValidateArgs),
    /// Run the tests beside the config's routes: an event in, the record or problem that comes of it. No Kafka needed.
    Test(test::TestArgs),
    /// Make the routes' topics, or check them.
    Topics(TopicsArgs),
    /// About the config file itself.
    Config(ConfigArgs),
    /// Make API keys.
    Keys(keys::KeysArgs),
    /// Make, build, test and measure plugins.
    Plugin(plugin::PluginArgs),
    /// What a running gateway's lookups rest on; hide events, or read them from Kafka anew.
    Recent(recent::RecentArgs),
    /// Have a running gateway read its config again: routes, plugins, schemas and limits, without a restart.
    ///
    /// SIGHUP does the same, and so does a change of the file; this one says what came of it.
    Reload(reload::ReloadArgs),
    /// Compile one plugin from standard input to standard output; the gateway calls this itself.
    #[command(hide = true)]
    CompilePlugin(CompilePluginArgs),
}

/// The limits of a compilation.
#[derive(Debug, Args)]
pub struct CompilePluginArgs {
    /// Address space.
    #[arg(long)]
    pub memory_bytes_max: u64,
    /// CPU time.
    #[arg(long)]
    pub cpu_s_max: u64,
}

/// Flags of `weir serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// The log level, above the config's: `debug`, or by module: `info,weir::kafka=debug`.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Flags of `weir dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where events come in and lookups are answered.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where /livez, /readyz and /metrics are.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub admin: SocketAddr,
    /// A config whose routes, schemas and plugins are used instead of the example's.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Flags of `weir validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Check only files: neither secrets, nor Kafka, nor Valkey.
    #[arg(long)]
    pub no_environment: bool,
    /// How to print the checks.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of `weir topics`.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    /// Make or check.
    #[command(subcommand)]
    pub action: TopicsAction,
}

/// What to do with the topics.
#[derive(Debug, Subcommand)]
pub enum TopicsAction {
    /// Make the topics that are missing. Topics that exist are checked and left as they are.
    Create(TopicsFlags),
    /// Compare the topics with the config, and refuse weak ones.
    Check(TopicsFlags),
}

/// Flags of both.
#[derive(Debug, Args)]
pub struct TopicsFlags {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// How to print the topics.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of `weir config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What about it.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// What is asked about the config.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Print the config's JSON Schema.
    Schema,
}

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A line each, for people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Why a command ends badly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The config or the command line is wrong; exit code 64.
    #[error("{0}")]
    Config(String),
    /// Anything else; exit code 1.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code of a wrong config or command line (`EX_USAGE`).
    pub const CONFIG: u8 = 64;

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(_) => ExitCode::from(Self::CONFIG),
            Failure::Other(_) => ExitCode::FAILURE,
        }
    }
}

/// Reads the command line; prints help or what is wrong with it, and then says how to exit.
pub fn parse() -> Result<Command, ExitCode> {
    Cli::try_parse().map(|cli| cli.command).map_err(|error| {
        let wrong = error.use_stderr();
        match (wrong, error.print()) {
            (false, Ok(())) => ExitCode::SUCCESS,
            (false, Err(_)) => ExitCode::FAILURE,
            (true, _) => ExitCode::from(Failure::CONFIG),
        }
    })
}

/// Reads a config with this process's environment.
pub fn load(path: &Path) -> Result<Loaded, Failure> {
    load_with(path, [])
}

/// The same, with a role's own overrides behind those of the environment.
pub fn load_with<const N: usize>(path: &Path, overrides: [(String, String); N]) -> Result<Loaded, Failure> {
    let environment = config::environment().chain(overrides);
    config::load(path, environment).map_err(|refused| Failure::Config(refused.to_string()))
}

/// `weir config schema`.
pub fn config(args: &ConfigArgs) -> Result<ExitCode, Failure> {
    match args.action {
        ConfigAction::Schema => print(&format!("{:#}\n", config::json_schema())).map(|()| ExitCode::SUCCESS),
    }
}

/// Writes to standard output; a reader who left early is a failure, not a panic.
fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|cause| Failure::Other(format!("standard output: {cause}")))
}

/// Runs what asks Kafka or Valkey, on a runtime of its own.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|cause| Failure::Other(format!("the runtime cannot be started: {cause}")))?;
    Ok(runtime.block_on(work))
}
