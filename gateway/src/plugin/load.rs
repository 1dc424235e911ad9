//! From a file and a route's config to a plugin that workers can start: read, compile, describe, init, health,
//! in this order, each under limits. A plugin that fails any of it never meets an event.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Settings;
use super::artifact::{Artifact, ArtifactError, Description};
use super::cache::Cache;
use super::compile::{CompileError, Compiler};
use super::counters::{Counters, PluginCounters};
use super::engine::Engine;
use super::guest::{self, Binding, Guest, GuestError, Info, Startable};
use super::host::{self, Said};
use super::instance::{CallError, broken};
use super::output::Rights;
use super::tables::Tables;
use crate::event::{Selector, selector::SelectorError};

/// Fields that one plugin may read.
const FIELDS_MAX: usize = 64;
/// Names and versions, which become part of headers and receipts.
const NAME_BYTES_MAX: usize = 64;
/// A guest's words in our log.
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const HOST: &str = concat!("weir ", env!("CARGO_PKG_VERSION"));

/// Everything that plugins of one process share.
pub struct Host {
    engine: Engine,
    linker: wasmtime::component::Linker<guest::State>,
    cache: Cache,
    compiler: Compiler,
    counters: Counters,
    tables: Arc<Tables>,
    settings: Arc<Settings>,
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
        let engine = Engine::start().map_err(LoadError::Engine)?;
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
        read(path, self.settings.artifact_bytes_max).map_err(unreadable)
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
        let mut plugin = Plugin::new(usage, &artifact, info, startable, counters, self)?;
        plugin.rights.topics = usage.topics_allowed.to_vec();
        let mut spares = Vec::new();
        for _ in 0..self.settings.spares.max(1) {
            let mut spare = plugin.start()?;
            heard("health", spare.health(), &mut spare)?;
            spares.push(spare);
        }
        plugin.spares = Mutex::new(spares);
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
        known().insert(artifact.digest.clone(), startable.clone());
        Ok(startable)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A plugin with a route's config, described and healthy; workers make their instances of it.
pub struct Plugin {
    /// Its name in the config.
    pub alias: Arc<str>,
    /// Its own name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// SHA-256 of its file, in hex.
    pub digest: Arc<str>,
    /// All of that: `name@version+sha256:<hex>`.
    pub label: Arc<str>,
    config_json: String,
    fields: Vec<Selector>,
    needs_payload: bool,
    batch_events_max: usize,
    rights: Rights,
    startable: Startable,
    counters: Arc<PluginCounters>,
    tables: Arc<Tables>,
    settings: Arc<Settings>,
    /// Started, healthy, and taken by the first workers that ask.
    spares: Mutex<Vec<Guest>>,
}

impl Plugin {
    fn new(
        usage: &Use<'_>,
        artifact: &Artifact,
        info: Info,
        startable: Startable,
        counters: Arc<PluginCounters>,
        host: &Host,
    ) -> Result<Self, LoadError> {
        let (tables, settings) = (Arc::clone(&host.tables), Arc::clone(&host.settings));
        check_names(&info, artifact.description.as_ref())?;
        if info.fields.len() > FIELDS_MAX {
            let problem = format!("it reads {} fields; {FIELDS_MAX} are allowed", info.fields.len());
            return Err(LoadError::Info(problem));
        }
        let rights = rights(&info.roles, settings.ops_per_event_max)?;
        if let Some(import) = artifact.impure_import().filter(|_| rights.key || !rights.enrich) {
            let rule =
                "only an enricher that sets no keys may: the same event must have the same keys for ever";
            return Err(LoadError::Info(format!("it imports {import}; {rule}")));
        }
        let wanted = usize::try_from(info.max_batch).unwrap_or(usize::MAX);
        let batch_events_max =
            if wanted == 0 { settings.batch_events_max } else { settings.batch_events_max.min(wanted) };
        Ok(Plugin {
            alias: usage.name.into(),
            label: format!("{}@{}+sha256:{}", info.name, info.version, artifact.digest).into(),
            name: info.name.into(),
            version: info.version.into(),
            digest: artifact.digest.as_str().into(),
            config_json: usage.config_json.to_owned(),
            fields: info.fields.iter().map(|field| field.parse()).collect::<Result<_, _>>()?,
            needs_payload: info.needs_payload,
            batch_events_max: batch_events_max.max(1),
            rights,
            startable,
            counters,
            tables,
            settings,
            spares: Mutex::default(),
        })
    }

    /// Whether it may set partition keys.
    pub fn sets_keys(&self) -> bool {
        self.rights.key
    }

    /// A started and bound guest.
    pub(super) fn start(&self) -> Result<Guest, StartError> {
        // A list of guests is whole whatever happened to a thread that held it.
        if let Some(spare) = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(spare);
        }
        let said = Said::new(Arc::clone(&self.alias), Arc::clone(&self.counters), Arc::clone(&self.settings));
        let mut guest = Guest::start(&self.startable, said, &self.tables, &self.settings)
            .map_err(|error| failed("start", &error))?;
        let binding = Binding { config_json: &self.config_json, schemas: &[], host: HOST, meta: &[] };
        let bound = guest.init(binding);
        heard("init", bound, &mut guest)?;
        Ok(guest)
    }

    /// Whether a failure is worth a line in the log: one a second is, the rest are counted.
    pub fn worth_a_line(&self) -> bool {
        self.counters.worth_a_line()
    }

    pub(super) fn counters(&self) -> &PluginCounters {
        &self.counters
    }

    /// What it reads of each event, with this config.
    pub fn fields(&self) -> &[Selector] {
        &self.fields
    }

    /// Whether it is handed whole payloads.
    pub fn needs_payload(&self) -> bool {
        self.needs_payload
    }

    /// The most events of one call.
    pub fn batch_events_max(&self) -> usize {
        self.batch_events_max
    }

    /// What it may answer with: `filter`, `key`, `enrich`.
    pub fn roles(&self) -> Vec<&'static str> {
        let Rights { filter, key, enrich, .. } = self.rights;
        let roles = [(filter, "filter"), (key, "key"), (enrich, "enrich")];
        roles.into_iter().filter_map(|(has, role)| has.then_some(role)).collect()
    }

    pub(super) fn rights(&self) -> &Rights {
        &self.rights
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline()
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({})", self.label)
    }
}

fn check_names(info: &Info, description: Option<&Description>) -> Result<(), LoadError> {
    let fits = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
        (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
    };
    if !fits(&info.name) || !fits(&info.version) {
        let rule = format!("name and version are letters, digits and -_.+, at most {NAME_BYTES_MAX} bytes");
        return Err(LoadError::Info(rule));
    }
    match description {
        Some(said) if said.name != info.name || said.version != info.version => {
            let other = format!(
                "its section says {}@{}, `describe` another name or version",
                said.name, said.version
            );
            Err(LoadError::Info(clipped(&other)))
        }
        _ => Ok(()),
    }
}

fn rights(roles: &[String], ops_per_event_max: usize) -> Result<Rights, LoadError> {
    let mut rights = Rights { ops_per_event_max, ..Rights::default() };
    for role in roles {
        match role.as_str() {
            "filter" => rights.filter = true,
            "key" => rights.key = true,
            "enrich" => rights.enrich = true,
            _ => return Err(LoadError::Info("it has a role other than filter, key and enrich".to_owned())),
        }
    }
    Ok(rights)
}

/// What a call outside of the event's path came to.
fn heard<T>(
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

fn failed(call: &'static str, error: &wasmtime::Error) -> StartError {
    StartError::Broken { call, error: Box::new(broken(error)) }
}

/// A guest's words, cut to what a log line takes.
pub(super) fn clipped(text: &str) -> String {
    let (kept, _) = text.split_at(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    kept.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn read(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that the artifact's own check speaks of the size.
    std::fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
