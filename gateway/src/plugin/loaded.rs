//! A plugin under a route's config, as workers know it: what it said of itself, checked, and its guests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Settings;
use super::artifact::{Artifact, Description};
use super::breaker::Breaker;
use super::counters::PluginCounters;
use super::guest::{Binding, Guest, Info, Startable};
use super::host::Said;
use super::load::{Host, LoadError, StartError, Use, clipped, failed, heard};
use super::output::Rights;
use super::tables::Tables;
use crate::event::Selector;

/// Fields that one plugin may read.
const FIELDS_MAX: usize = 64;
/// Names and versions, which become part of headers and receipts.
const NAME_BYTES_MAX: usize = 64;
const HOST: &str = concat!("weir ", env!("CARGO_PKG_VERSION"));

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
    breaker: Breaker,
    /// Started, healthy, and taken by the first workers that ask.
    spares: Mutex<Vec<Guest>>,
}

impl Plugin {
    pub(super) fn new(
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
        let mut rights = rights(&info.roles, settings.ops_per_event_max)?;
        rights.topics = usage.topics_allowed.to_vec();
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
            breaker: Breaker::default(),
            spares: Mutex::default(),
        })
    }

    /// Has so many guests standing by, started and asked for their health: who takes it over need not wait.
    pub(super) fn stand_by(&self, spares: usize) -> Result<(), StartError> {
        while self.spares().len() < spares {
            let mut spare = self.new_guest()?;
            heard("health", spare.health(), &mut spare)?;
            self.spares().push(spare);
        }
        Ok(())
    }

    /// Nobody takes it over for now.
    pub(super) fn stand_down(&self) {
        self.spares().clear();
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Guest>> {
        // A list of guests is whole whatever happened to a thread that held it.
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be called now; not while it is in quarantine, but for a call now and then.
    pub fn admits(&self) -> bool {
        self.breaker.admits()
    }

    /// Whether it is in quarantine, for having failed on most of its events.
    pub fn is_quarantined(&self) -> bool {
        self.breaker.is_open()
    }

    /// So many events were judged, and on so many it failed; `again` if they were in a call before that failed. Too
    /// many failures, and it is in quarantine.
    pub fn judged(&self, well: usize, failed: usize, again: bool) {
        if again || failed > 0 {
            self.breaker.counted(well as u64);
        } else {
            self.breaker.well(well as u64);
        }
        if (0..failed).any(|_| self.breaker.failed()) {
            tracing::error!(plugin = %self.label, "in quarantine: it fails on most of its events");
        }
    }

    /// Out of quarantine: it is to be tried anew.
    pub(super) fn pardon(&self) {
        self.breaker.close();
    }

    /// Whether it may set partition keys.
    pub fn sets_keys(&self) -> bool {
        self.rights.key
    }

    /// A started and bound guest.
    pub(super) fn start(&self) -> Result<Guest, StartError> {
        let spare = self.spares().pop();
        spare.map_or_else(|| self.new_guest(), Ok)
    }

    fn new_guest(&self) -> Result<Guest, StartError> {
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

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
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
