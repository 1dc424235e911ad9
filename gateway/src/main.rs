//! Arguments, then the log, then one role, then the exit code. Nothing else happens here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use weir::commands::{self, Command, CompilePluginArgs, DevArgs, Failure, ServeArgs};
use weir::config::{Config, Loaded};
use weir::serve::{ServeError, Source};
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
        Ok(Command::Reload(args)) => commands::reload::run(&args),
        Ok(Command::CompilePlugin(args)) => compile_plugin(&args),
        Err(code) => return code,
    };
    done.unwrap_or_else(|failure| {
        eprintln!("weir: {failure}");
        failure.exit_code()
    })
}

fn serve(args: ServeArgs) -> Result<ExitCode, Failure> {
    let source = source(args.config, [], move |config| {
        if let Some(level) = &args.log_level {
            config.log.level.clone_from(level);
        }
    });
    weir::serve::run(begin(&source)?, source, None, |_| ()).map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

fn dev(args: DevArgs) -> Result<ExitCode, Failure> {
    let path = args.config.map_or_else(weir::dev::example, Ok).map_err(failure)?;
    let kafka = weir::dev::Kafka::start().map_err(failure)?;
    let source = source(path, kafka.overrides(), move |config| {
        config.listen = args.listen;
        config.admin = args.admin;
    });
    weir::dev::run(kafka, begin(&source)?, source).map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Config(_) => Failure::Config(error.to_string()),
        ServeError::System { .. } => Failure::Other(error.to_string()),
    }
}

/// Where a role's config comes from: its file, with `overrides` and then the role's flags on top.
fn source<const N: usize>(
    file: PathBuf,
    overrides: [(String, String); N],
    flags: impl Fn(&mut Config) + Send + Sync + 'static,
) -> Source {
    let path = file.clone();
    let read = move || {
        let mut loaded = commands::load_with(&path, overrides.clone()).map_err(|error| error.to_string())?;
        flags(&mut loaded.config);
        Ok(loaded)
    };
    Source { file, read: Arc::new(read), prepare: Box::new(|_| Ok(())) }
}

/// The config that a role begins with, and the log as it says.
fn begin(source: &Source) -> Result<Loaded, Failure> {
    let loaded = (source.read)().map_err(Failure::Config)?;
    telemetry::start(&loaded.config.log).map_err(|error| Failure::Config(error.to_string()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.trim());
    }
    Ok(loaded)
}

fn compile_plugin(args: &CompilePluginArgs) -> Result<ExitCode, Failure> {
    weir::plugin::compile_plugin(args.memory_bytes_max, args.cpu_s_max)
        .map_err(|error| Failure::Other(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}
