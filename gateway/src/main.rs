//! Arguments, then the log, then one role, then the exit code. Nothing else happens here.

use std::path::Path;
use std::process::ExitCode;

use weir::commands::{self, Command, CompilePluginArgs, DevArgs, Failure, ServeArgs};
use weir::config::Config;
use weir::serve::ServeError;
use weir::telemetry;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let done = match commands::parse() {
        Ok(Command::Serve(args)) => serve(args),
        Ok(Command::Dev(args)) => dev(args),
        Ok(Command::Validate(args)) => commands::validate::run(&args),
        Ok(Command::Test(args)) => commands::test::run(&args),
        Ok(Command::Topics(args)) => commands::topics::run(&args),
        Ok(Command::Config(args)) => commands::config(&args),
        Ok(Command::Keys(args)) => commands::keys::run(&args),
        Ok(Command::Plugin(args)) => commands::plugin::run(&args),
        Ok(Command::Recent(args)) => commands::recent::run(&args),
        Ok(Command::CompilePlugin(args)) => compile_plugin(&args),
        Err(code) => return code,
    };
    done.unwrap_or_else(|failure| {
        eprintln!("weir: {failure}");
        failure.exit_code()
    })
}

fn serve(args: ServeArgs) -> Result<ExitCode, Failure> {
    let config = configured(&args.config, [], |config| {
        config.log.level = args.log_level.unwrap_or(std::mem::take(&mut config.log.level));
    })?;
    weir::serve::run(&config, None, |_| ()).map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

fn dev(args: DevArgs) -> Result<ExitCode, Failure> {
    let path = args.config.map_or_else(weir::dev::example, Ok).map_err(failure)?;
    let kafka = weir::dev::Kafka::start().map_err(failure)?;
    let config = configured(&path, kafka.overrides(), |config| {
        config.listen = args.listen;
        config.admin = args.admin;
    })?;
    weir::dev::run(&kafka, &config).map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Config(_) => Failure::Config(error.to_string()),
        ServeError::System { .. } => Failure::Other(error.to_string()),
    }
}

/// The config of a role, changed by its flags, with the log started as it says.
fn configured<const N: usize>(
    path: &Path,
    overrides: [(String, String); N],
    flags: impl FnOnce(&mut Config),
) -> Result<Config, Failure> {
    let mut loaded = commands::load_with(path, overrides)?;
    flags(&mut loaded.config);
    telemetry::start(&loaded.config.log).map_err(|error| Failure::Config(error.to_string()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.trim());
    }
    Ok(loaded.config)
}

fn compile_plugin(args: &CompilePluginArgs) -> Result<ExitCode, Failure> {
    weir::plugin::compile_plugin(args.memory_bytes_max, args.cpu_s_max)
        .map_err(|error| Failure::Other(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}
