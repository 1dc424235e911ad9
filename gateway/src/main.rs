//! Arguments, then the log, then one role, then the exit code. Nothing else happens here.

use std::process::ExitCode;

use weir::commands::{self, Command, DevArgs, Failure, ServeArgs};
use weir::telemetry;

fn main() -> ExitCode {
    let done = match commands::parse() {
        Ok(Command::Serve(args)) => serve(args),
        Ok(Command::Dev(args)) => dev(args),
        Ok(Command::Validate(args)) => commands::validate::run(&args),
        Ok(Command::Topics(args)) => commands::topics::run(&args),
        Ok(Command::Config(args)) => commands::config(&args),
        Ok(Command::CompilePlugin) => compile_plugin(),
        Err(code) => return code,
    };
    done.unwrap_or_else(|failure| {
        eprintln!("weir: {failure}");
        failure.exit_code()
    })
}

fn serve(args: ServeArgs) -> Result<ExitCode, Failure> {
    let mut loaded = commands::load(&args.config)?;
    loaded.config.log.level = args.log_level.unwrap_or(loaded.config.log.level);
    telemetry::start(&loaded.config.log).map_err(|error| Failure::Config(error.to_string()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.trim());
    }
    Err(Failure::Other("`weir serve` is not wired yet".to_owned()))
}

fn dev(args: DevArgs) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.config {
        commands::load(path)?;
    }
    Err(Failure::Other("`weir dev` is not wired yet".to_owned()))
}

fn compile_plugin() -> Result<ExitCode, Failure> {
    Err(Failure::Other("`weir compile-plugin` is not wired yet".to_owned()))
}
