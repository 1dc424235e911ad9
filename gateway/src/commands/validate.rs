//! `weir validate`: the config, what it points to, and (unless told not to) what it connects to.
//!
//! Makes the parts as `serve` does, but starts none, and every check it can even when an earlier one fails.

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Handle;

use super::checks::{Checks, Verdict};
use super::{Failure, ValidateArgs, block_on, load, topics};
use crate::config::Config;
use crate::config::route_settings::RouteSettings;
use crate::http::tls::Settings;
use crate::metrics::Metrics;
use crate::parts;
use crate::plugin::{Host, Plugin, TABLE_BYTES_MAX};
use crate::route::AfterPlugins;
use crate::schema::{self, Registry};
use crate::serve::evicts;
use crate::valkey::Valkey;

/// How long Valkey may take for its answer.
const VALKEY_TIMEOUT: Duration = Duration::from_secs(10);

/// `weir validate`.
pub fn run(args: &ValidateArgs) -> Result<ExitCode, Failure> {
    let mut checks = Checks::default();
    let what = format!("config {}", args.config.display());
    match load(&args.config) {
        Ok(loaded) => {
            checks.add(&what, Verdict::Good, count(loaded.config.routes.len(), "route"));
            for warning in &loaded.warnings {
                checks.add(&what, Verdict::Warning, warning);
            }
            keys(&loaded.config, &mut checks);
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

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Whether the files of keys, ours and an issuer's, can be used.
fn keys(config: &Config, checks: &mut Checks) {
    let ours = config.access.keys_file.is_some().then(|| config.access.count());
    for (what, read) in [("access.keys_file", ours), ("access.jwt.jwks_file", config.access.issuers_keys())] {
        match read {
            Some(Ok(keys)) => checks.add(what, Verdict::Good, count(keys, "key")),
            Some(Err(why)) => checks.add(what, Verdict::Wrong, why),
            None => {}
        }
    }
}

/// Whether every schema compiles, and every subject that a route always asks for has one.
fn schemas(config: &Config, checks: &mut Checks) {
    let Some(folder) = &config.schemas else { return };
    let what = format!("schemas {}", folder.display());
    match Registry::load(folder, &schema::Limits::default()) {
        Ok(registry) => {
            checks.add(what, Verdict::Good, count(registry.schemas().count(), "schema"));
            for route in &config.routes {
                for subject in subjects(route).filter(|subject| registry.subject(subject).is_none()) {
                    let detail =
                        format!("there is no schema {}/<version>.json", folder.join(subject).display());
                    checks.add(format!("route {}", route.name), Verdict::Wrong, detail);
                }
            }
        }
        Err(errors) => errors.iter().for_each(|error| checks.add(&what, Verdict::Wrong, error.to_string())),
    }
}

/// The subjects that do not depend on the event.
fn subjects(route: &RouteSettings) -> impl Iterator<Item = &str> {
    let before = route.subject.as_ref().and_then(|subject| subject.constant());
    let after = match &route.after_plugins {
        AfterPlugins::Subject(subject) => Some(subject.as_str()),
        AfterPlugins::Same | AfterPlugins::Off => None,
    };
    before.into_iter().chain(after)
}

/// Whether every route's plugins compile, take the route's config and call themselves healthy.
fn plugins(config: &Config, checks: &mut Checks) {
    let routes: Vec<_> = config.routes.iter().filter(|route| !route.plugins.is_empty()).collect();
    if routes.is_empty() {
        return;
    }
    match host(config) {
        Ok(host) => routes.into_iter().for_each(|route| match parts::chain(config, &host, route) {
            Ok(chain) => {
                let names: Vec<_> = chain.iter().map(|plugin| name(plugin)).collect();
                checks.add(format!("route {}", route.name), Verdict::Good, names.join(", then "));
            }
            Err(error) => checks.add("plugins", Verdict::Wrong, error.to_string()),
        }),
        Err(error) => checks.add("plugins", Verdict::Unavailable, error),
    }
}

fn host(config: &Config) -> Result<Host, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    // Whether hashes can be read is the environment's part.
    parts::plugin_host(config, &metrics, None)
}

/// A plugin by its own name and version.
fn name(plugin: &Plugin) -> String {
    format!("{} {}", plugin.name, plugin.version)
}

/// Whether what the config connects to answers, and is what it should be.
async fn environment(config: &Config, checks: &mut Checks) {
    topics::look(config, false, checks).await;
    valkey(config, checks).await;
    signatures(config, checks);
    tls(config, checks);
    tables(config, checks);
}

/// Whether the secrets of signed routes can be read.
fn signatures(config: &Config, checks: &mut Checks) {
    match parts::signatures(config) {
        Ok(signatures) if signatures.is_empty() => {}
        Ok(signatures) => checks.add("signatures", Verdict::Good, count(signatures.len(), "signed route")),
        Err(error) => checks.add("signatures", Verdict::Wrong, error.to_string()),
    }
}

/// Whether the listeners' certificates, their keys and the clients' authorities can be used.
fn tls(config: &Config, checks: &mut Checks) {
    for (what, settings) in [("tls", &config.tls), ("admin_tls", &config.admin_tls)] {
        match settings.as_ref().map(Settings::check) {
            Some(Ok(())) => checks.add(what, Verdict::Good, "certificate and key belong together"),
            Some(Err(why)) => checks.add(what, Verdict::Wrong, why),
            None => {}
        }
    }
}

/// Whether every table that is a hash can be read.
fn tables(config: &Config, checks: &mut Checks) {
    let Some(read_hash) = parts::read_hash(config) else { return };
    for (name, table) in &config.tables {
        let Some(hash) = &table.valkey_hash else { continue };
        let what = format!("table {name}");
        match read_hash(hash, TABLE_BYTES_MAX) {
            Ok(rows) => checks.add(what, Verdict::Good, count(rows.len(), "row")),
            Err(why) => checks.add(what, Verdict::Unavailable, format!("the Valkey hash `{hash}`: {why}")),
        }
    }
}

async fn valkey(config: &Config, checks: &mut Checks) {
    let Some(settings) = &config.valkey else { return };
    let what = format!("valkey {}", settings.nodes.join(","));
    let settings = match settings.reveal() {
        Ok(settings) => settings,
        Err(error) => return checks.add(what, Verdict::Wrong, error.to_string()),
    };
    match Valkey::connect(&settings, Handle::current()) {
        Ok(store) => match tokio::time::timeout(VALKEY_TIMEOUT, store.ping()).await {
            Ok(Ok(())) => match store.evicting().await {
                Ok(evicting) if evicting.is_empty() => checks.add(what, Verdict::Good, "answers"),
                Ok(evicting) => {
                    for (node, policy) in evicting {
                        checks.add(what.clone(), Verdict::Wrong, evicts(&node, &policy));
                    }
                }
                Err(error) => checks.add(what, Verdict::Unavailable, error.to_string()),
            },
            Ok(Err(error)) => checks.add(what, Verdict::Unavailable, error.to_string()),
            Err(_) => checks.add(what, Verdict::Unavailable, "no answer in 10 s"),
        },
        Err(error) => checks.add(what, Verdict::Wrong, error.to_string()),
    }
}
