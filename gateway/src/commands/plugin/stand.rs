//! One plugin on the gateway's own host, under the limits of production.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Failure, Given, build};
use crate::config;
use crate::metrics::Metrics;
use crate::plugin::{
    Compiler, Counters, Host, Instance, LoadError, Plugin, Settings, TableSettings, Tables, Use,
};
use crate::telemetry::{self, Format};

/// A host, and a plugin's bytes to be loaded with one config or another.
pub(super) struct Stand {
    /// Where the plugin is.
    pub(super) folder: PathBuf,
    file: PathBuf,
    wasm: Vec<u8>,
    config_json: String,
    topics: Vec<Arc<str>>,
    host: Host,
}

impl Stand {
    /// Builds the plugin if need be. Its log lines of this level and above go to standard error.
    pub(super) fn new(given: &Given, log_level: &str) -> Result<Self, Failure> {
        let file = build::wasm(&given.plugin)?;
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let log = telemetry::Settings {
            format: Some(Format::Text),
            level: log_level.to_owned(),
            ..telemetry::Settings::default()
        };
        telemetry::start(&log).map_err(|error| Failure::Other(error.to_string()))?;
        Ok(Stand {
            wasm: build::read(&file)?,
            config_json: config_json(given.config.as_deref(), &folder)?,
            topics: given.topics.iter().map(|topic| topic.as_str().into()).collect(),
            host: host(tables(&given.tables, &folder)?).map_err(Failure::Other)?,
            folder,
            file,
        })
    }

    /// The plugin with the config that was given.
    pub(super) fn load(&self) -> Result<Arc<Plugin>, Failure> {
        self.load_with(None, None).map_err(|error| {
            let said = format!("no gateway would load {}: {error}", self.file.display());
            match error {
                LoadError::Engine(_) | LoadError::Cache { .. } => Failure::Other(error.to_string()),
                _ => Failure::Config(said),
            }
        })
    }

    /// The same with another config, or one topic more, if there is one.
    pub(super) fn load_with(
        &self,
        config_json: Option<&str>,
        topic: Option<&str>,
    ) -> Result<Arc<Plugin>, LoadError> {
        let topics: Vec<Arc<str>> = self.topics.iter().cloned().chain(topic.map(Arc::from)).collect();
        let config_json = config_json.unwrap_or(&self.config_json);
        self.host.load_bytes(&self.wasm, &Use { name: "plugin", config_json, topics_allowed: &topics })
    }

    /// An instance that has met no event yet.
    pub(super) fn instance(plugin: &Arc<Plugin>) -> Result<Instance, Failure> {
        let mut instance = Instance::new(Arc::clone(plugin));
        instance.warm().map_err(|error| Failure::Other(error.to_string()))?;
        Ok(instance)
    }
}

fn host(tables: Tables) -> Result<Host, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let counters = Counters::new(metrics.registry()).map_err(|error| error.to_string())?;
    let compiler = Compiler::own_binary().map_err(|error| error.to_string())?;
    let settings = Settings { cache: cache(), ..Settings::default() };
    Host::new(settings, compiler, counters, Arc::new(tables)).map_err(|error| error.to_string())
}

/// The tables that were given, `NAME=FILE`, and those that lie beside the fixtures.
fn tables(given: &[String], folder: &Path) -> Result<Tables, Failure> {
    let mut tables = BTreeMap::new();
    let file = |path| TableSettings { path: Some(path), ..TableSettings::default() };
    for entry in fs::read_dir(folder.join("tests/tables")).into_iter().flatten().flatten() {
        let path = entry.path();
        if let (Some(name), Some("json")) =
            (path.file_stem(), path.extension().and_then(|ending| ending.to_str()))
        {
            tables.insert(name.to_string_lossy().into_owned(), file(path.clone()));
        }
    }
    for given in given {
        let no_table = || Failure::Config(format!("--table {given}: it is written NAME=FILE"));
        let (name, path) = given.split_once('=').ok_or_else(no_table)?;
        tables.insert(name.to_owned(), file(path.into()));
    }
    Tables::load(&tables, None).map_err(|error| Failure::Config(error.to_string()))
}

/// The user's own folder for such things: plugins lie anywhere, and these tools run anywhere.
fn cache() -> PathBuf {
    let named =
        |wanted: &str| config::environment().find(|(name, value)| name == wanted && !value.is_empty());
    let folder = named("XDG_CACHE_HOME").map(|(_, folder)| PathBuf::from(folder));
    let folder = folder.or_else(|| named("HOME").map(|(_, home)| Path::new(&home).join(".cache")));
    folder.unwrap_or_else(std::env::temp_dir).join("weir/plugins")
}

/// The config that was given, or the one that lies beside the plugin.
fn config_json(given: Option<&str>, folder: &Path) -> Result<String, Failure> {
    let read = |path: &Path| {
        let failed =
            |error| Failure::Config(format!("the config {} cannot be read: {error}", path.display()));
        fs::read_to_string(path).map_err(failed)
    };
    let beside = || [folder.join("config.json"), folder.join("tests/config.json")];
    let text = match given.map(|given| given.strip_prefix('@').ok_or(given)) {
        Some(Ok(path)) => read(Path::new(path))?,
        Some(Err(text)) => text.to_owned(),
        None => beside()
            .into_iter()
            .find(|path| path.is_file())
            .map_or(Ok("{}".to_owned()), |path| read(&path))?,
    };
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(_) => Err(Failure::Config("the config of a plugin is a JSON object".to_owned())),
        Err(error) => Err(Failure::Config(format!("the config is not JSON: {error}"))),
    }
}

/// This thread's CPU time, which is what a plugin's deadline counts too.
pub(super) fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
