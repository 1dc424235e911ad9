//! From a file and a route's config to a plugin that workers can start: read, compile, describe, init, health,
//! in this order, each under limits. A plugin that fails any of it never meets an event.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Settings;
use super::artifact::{Artifact, ArtifactError};
use super::cache::Cache;
use super::compile::{CompileError, Compiler};
use super::counters::Counters;
use super::engine::Engine;
use super::guest::{self, Guest, GuestError, Startable};
use super::host::{self, Said};
use super::instance::{CallError, broken};
use super::loaded::Plugin;
use super::tables::Tables;
use crate::event::selector::SelectorError;

/// A guest's words in our log.
const MESSAGE_BYTES_MAX: usize = 1 << 10;
/// Compiled files that are kept at hand.
const COMPILED_MAX: usize = 64;

/// Everything that plugins of one process share.
pub struct Host {
    engine: Engine,
    linker: wasmtime::component::Linker<guest::State>,
    cache: Cache,
    compiler: Compiler,
    counters: Counters,
    pub(super) tables: Arc<Tables>,
    pub(super) settings: Arc<Settings>,
    /// By digest: several routes may use the same file.
    compiled: Mutex<HashMap<String, Startable>>,
}

/// How a route uses a plugin.
#[derive(Clone, Debug)]
pub struct Use<'a> {
    /// The plugin's name in the config; a metric label.
    pub name: &'a str,
    /// The route's config for it, a JSON object.
    pub config_json: &'a str,
    /// Where it may send events, beside the route's own topic.
    pub topics_allowed: &'a [Arc<str>],
}

/// Why a plugin is not used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The engine cannot be made.
    #[error("the plugin engine cannot be started: {0:#}")]
    Engine(wasmtime::Error),
    /// The folder for compiled plugins.
    #[error("the plugin cache {} cannot be used: {error}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not a plugin of this contract.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its imports or exports have other types than the contract's.
    #[error("it does not fit contract 0.1.0: {0}; build it with weir-plugin 0.1.x")]
    Contract(String),
    /// It fails to start with this config.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It describes itself in a way that cannot be used.
    #[error("its description cannot be used: {0}")]
    Info(String),
    /// A field that is no selector.
    #[error("its description cannot be used: {0}")]
    Field(#[from] SelectorError),
}

/// Why an instance could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plugin said no.
    #[error("`{call}` answered: {message} (error {code})")]
    Refused {
        /// Which call.
        call: &'static str,
        /// The contract's error code.
        code: u32,
        /// The plugin's words.
        message: String,
    },
    /// The plugin broke down.
    #[error("`{call}`: {error}")]
    Broken {
        /// Which call.
        call: &'static str,
        /// How.
        error: Box<CallError>,
    },
}

impl Host {
    /// A host with its engine running.
    pub fn new(
        settings: Settings,
        compiler: Compiler,
        counters: Counters,
        tables: Arc<Tables>,
    ) -> Result<Self, LoadError> {
        let engine = Engine::start(&settings).map_err(LoadError::Engine)?;
        let linker = host::linker(&engine).map_err(LoadError::Engine)?;
        let cache = Cache::open(&settings.cache)
            .map_err(|error| LoadError::Cache { path: settings.cache.clone(), error })?;
        let settings = Arc::new(settings);
        Ok(Host { engine, linker, cache, compiler, counters, tables, settings, compiled: Mutex::default() })
    }

    #[cfg(test)]
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Loads a file for a route. Slow: compiles, unless the result is in the cache. Not for a worker.
    pub fn load(&self, path: &Path, usage: &Use<'_>) -> Result<Arc<Plugin>, LoadError> {
        self.load_bytes(&self.read(path)?, usage)
    }

    /// Reads a file that may be a plugin.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, LoadError> {
        let unreadable = |error| LoadError::Read { path: path.to_owned(), error };
        read_bounded(path, self.settings.artifact_bytes_max).map_err(unreadable)
    }

    /// The same, from memory.
    pub fn load_bytes(&self, bytes: &[u8], usage: &Use<'_>) -> Result<Arc<Plugin>, LoadError> {
        let artifact = Artifact::open(bytes, self.settings.artifact_bytes_max)?;
        let startable = self.startable(&artifact)?;
        let counters = self.counters.plugin(usage.name, self.settings.metric_names_max);
        let said = Said::new(usage.name.into(), Arc::clone(&counters), Arc::clone(&self.settings));
        let mut guest = Guest::start(&startable, said, &self.tables, &self.settings)
            .map_err(|error| failed("start", &error))?;
        let info = heard("describe", guest.describe(usage.config_json), &mut guest)?;
        let plugin = Plugin::new(usage, &artifact, info, startable, counters, self)?;
        // One is started and asked for its health; it goes to whoever is first.
        plugin.stand_by(1)?;
        Ok(Arc::new(plugin))
    }

    fn startable(&self, artifact: &Artifact) -> Result<Startable, LoadError> {
        let known = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(startable) = known().get(&artifact.digest) {
            return Ok(startable.clone());
        }
        let component = self.compiler.component(&self.engine, &self.cache, artifact, &self.settings)?;
        let contract = |error: wasmtime::Error| LoadError::Contract(clipped(&format!("{error:#}")));
        let pre = self.linker.instantiate_pre(&component).map_err(contract)?;
        let startable = Startable::new(&self.engine, pre).map_err(contract)?;
        let mut known = known();
        if known.len() >= COMPILED_MAX {
            // What is in use keeps its own; the rest comes back from the cache.
            known.clear();
        }
        known.insert(artifact.digest.clone(), startable.clone());
        Ok(startable)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a call outside of the event's path came to.
pub(super) fn heard<T>(
    call: &'static str,
    answer: wasmtime::Result<Result<T, GuestError>>,
    guest: &mut Guest,
) -> Result<T, StartError> {
    match answer {
        Ok(Ok(value)) => {
            guest.said().publish();
            Ok(value)
        }
        Ok(Err(error)) => {
            guest.said().publish_errors();
            Err(StartError::Refused { call, code: error.code, message: clipped(&error.message) })
        }
        Err(error) => {
            guest.said().publish_errors();
            Err(failed(call, &error))
        }
    }
}

pub(super) fn failed(call: &'static str, error: &wasmtime::Error) -> StartError {
    StartError::Broken { call, error: Box::new(broken(error)) }
}

/// A guest's words, cut to what a log line takes.
pub(super) fn clipped(text: &str) -> String {
    let (kept, _) = text.split_at(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    kept.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Reads a file, of one that is too large one byte more than allowed. Takes its room at once: an interpreter's code has
/// tens of megabytes, and would be moved at each doubling.
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let bytes_max = bytes_max as u64 + 1;
    let expected = file.metadata()?.len().saturating_add(1).min(bytes_max);
    let mut bytes = Vec::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
