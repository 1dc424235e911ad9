//! `weir validate`: the config, what it points to, and (unless told not to) what it connects to.
//!
//! Changes nothing, and makes every check it can even when an earlier one fails.

use std::path::Path;
use std::process::ExitCode;

use super::checks::{Checks, Verdict};
use super::{Failure, ValidateArgs, block_on, load, topics};
use crate::config::Config;

/// `weir validate`.
pub fn run(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    let mut checks = Checks::default();
    let what = format!("config {}", args.config.display());
    match load(&args.config) {
        Ok(loaded) => {
            checks.add(&what, Verdict::Good, format!("{} routes", loaded.config.routes.len()));
            for warning in &loaded.warnings {
                checks.add(&what, Verdict::Warning, warning);
            }
            schemas(&loaded.config, &mut checks);
            plugins(&loaded.config, &mut checks);
            if !args.no_environment {
                block_on(environment(&loaded.config, &mut checks))?;
            }
        }
        Err(failure) => checks.add(&what, Verdict::Wrong, failure.to_string()),
    }
    checks.conclude(args.output)
}

fn schemas(config: &Config, checks: &mut Checks) {
    let Some(folder) = &config.schemas else { return };
    file("schemas", folder, folder.is_dir(), checks);
}

fn plugins(config: &Config, checks: &mut Checks) {
    for (name, plugin) in &config.plugins {
        file(&format!("plugin {name}"), &plugin.path, plugin.path.is_file(), checks);
    }
}

fn file(what: &str, path: &Path, there: bool, checks: &mut Checks) {
    let verdict = if there { Verdict::Good } else { Verdict::Wrong };
    let detail = if there { "is there" } else { "is not there" };
    checks.add(what, verdict, format!("{} {detail}", path.display()));
}

async fn environment(config: &Config, checks: &mut Checks) {
    topics::look(config, false, checks).await;
}
