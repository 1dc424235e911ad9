//! The whole configuration: every module's `Settings`, read from one YAML file and the environment.
//!
//! Only gathers and refuses: what a setting does is said where it is used, and nobody to the left reads this.

pub mod change;
pub mod check;
pub mod limits;
pub mod overrides;
pub mod report;
pub mod route_settings;
pub mod route_tests;
pub mod valkey_settings;

mod globs;
mod mask;
mod topics;
mod tree;
mod typed;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use miette::Severity;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::http::tls;
use crate::plugin::{self, TableSettings};
use crate::{access, kafka, telemetry, traces};
use limits::Limits;
use report::{Finding, Source};
use route_settings::RouteSettings;
use valkey_settings::ValkeySettings;

/// A configuration that can be used. Paths are absolute or relative to the process once loaded.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "weir.yaml")]
pub struct Config {
    /// Where events come in and lookups are answered.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub admin: SocketAddr,
    /// TLS of `listen`; absent: whoever sees the traffic reads it.
    pub tls: Option<tls::Settings>,
    /// TLS of `admin`.
    pub admin_tls: Option<tls::Settings>,
    /// How many workers; 0: one per core.
    pub workers: usize,
    /// The process's own log.
    pub log: telemetry::Settings,
    /// Where spans of requests go; absent: no request is traced.
    pub traces: Option<traces::Settings>,
    /// The folder of `<subject>/<version>.json`; absent: no schemas.
    pub schemas: Option<PathBuf>,
    /// The plugins by name.
    pub plugins: BTreeMap<String, PluginSettings>,
    /// What enrichers may look into, by name.
    pub tables: BTreeMap<String, TableSettings>,
    /// Where compiled plugins are kept.
    pub plugin_cache: PathBuf,
    /// What plugins may cost.
    pub plugin_limits: plugin::Settings,
    /// Where Kafka is.
    pub kafka: kafka::settings::Settings,
    /// Where Valkey is; absent: no lookups.
    pub valkey: Option<ValkeySettings>,
    /// Who may do what.
    pub access: access::Settings,
    /// How much at once, and how long.
    pub limits: Limits,
    /// The routes; the first that matches takes the event.
    pub routes: Vec<RouteSettings>,
}

/// Where a plugin is.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// The `.wasm` file.
    pub path: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            admin: (Ipv4Addr::LOCALHOST, 9090).into(),
            tls: None,
            admin_tls: None,
            workers: 0,
            log: telemetry::Settings::default(),
            traces: None,
            schemas: None,
            plugins: BTreeMap::new(),
            tables: BTreeMap::new(),
            plugin_cache: PathBuf::from(".weir-cache"),
            plugin_limits: plugin::Settings::default(),
            kafka: kafka::settings::Settings::default(),
            valkey: None,
            access: access::Settings::default(),
            limits: Limits::default(),
            routes: Vec::new(),
        }
    }
}

impl Config {
    /// How many workers there are to be.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            count => count,
        }
    }
}

/// A configuration that can be used, with what is probably not meant in it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Findings that do not keep it from being used, for people to read.
    pub warnings: Vec<String>,
    /// The file's text, by which a change of it is seen.
    pub text: String,
}

/// A configuration that cannot be used, and why: each finding for people to read, over several lines.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n").trim_end())]
pub struct Refused(pub Vec<String>);

/// The process's environment, for [`load`]; what is not UTF-8 is left out.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads the file, applies `environment`'s overrides, and refuses what cannot work. Reads no secrets.
pub fn load(path: &Path, environment: impl IntoIterator<Item = (String, String)>) -> Result<Loaded, Refused> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Refused(vec![format!("{name}: the config cannot be read: {cause}\n")]))?;
    parse(&name, &text, path.parent().unwrap_or(Path::new("")), environment)
}

/// The same for text that is already here; relative paths are taken from `folder`.
pub fn parse(
    name: &str,
    text: &str,
    folder: &Path,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Refused> {
    let mut root = tree::parse(text, None).map_err(|error| {
        let source = Source::new(name, text, None);
        Refused(vec![source.show(&Finding::at(tree::error_origin(&error), tree::error_text(&error), None))])
    })?;
    let unusable = overrides::apply(&mut root, environment);
    if !unusable.is_empty() {
        return Err(Refused(unusable.iter().map(ToString::to_string).collect()));
    }
    let typed = typed::typed::<Config>(&root);
    let source = Source::new(name, text, Some(root));
    let mut config = typed.map_err(|refusal| {
        let finding = Finding::at(refusal.origin, refusal.message, refusal.help);
        Refused(vec![source.show(&finding)])
    })?;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        check::check(&config).into_iter().partition(|finding| finding.severity == Severity::Error);
    let show = |findings: Vec<Finding>| findings.iter().map(|finding| source.show(finding)).collect();
    if !errors.is_empty() {
        return Err(Refused(show(errors)));
    }
    config.anchor(folder);
    Ok(Loaded { config, warnings: show(warnings), text: text.to_owned() })
}

/// The JSON Schema of the config file, for editors.
pub fn json_schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

impl Config {
    /// Makes relative paths relative to `folder`.
    fn anchor(&mut self, folder: &Path) {
        self.kafka.anchor(folder);
        self.access.anchor(folder);
        if let Some(traces) = &mut self.traces {
            traces.anchor(folder);
        }
        for tls in self.tls.iter_mut().chain(&mut self.admin_tls) {
            tls.anchor(folder);
        }
        if let Some(valkey) = &mut self.valkey {
            valkey.anchor(folder);
        }
        let signatures = self.routes.iter_mut().filter_map(|route| route.signature.as_mut());
        for secret in signatures.flat_map(|signature| &mut signature.secrets) {
            secret.anchor(folder);
        }
        let plugins = self.plugins.values_mut().map(|plugin| &mut plugin.path);
        let tables = self.tables.values_mut().filter_map(|table| table.path.as_mut());
        for path in plugins.chain(tables).chain(self.schemas.as_mut()).chain([&mut self.plugin_cache]) {
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests;
