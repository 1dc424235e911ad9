//! The versions of each plugin, and which of them is in force. A version is loaded for every route that uses the
//! plugin, then published: all routes and workers go over to it between two chunks. What fails before that
//! changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::chain::Chains;
use super::load::{Host, StartError, Use};
use super::loaded::Plugin;
use super::shadow::Shadow;
use super::version::{Description, Stage, VersionError, now_s};

/// Versions of one plugin that are kept, the one in force among them.
const KEPT_MAX: usize = 8;

/// So many events in the shadow show what another key extractor would move.
const SHADOWED_EVENTS_MIN: u64 = 1_000;

/// One use of a plugin: a place in a route's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The route.
    pub route: Arc<str>,
    /// Where in its chain.
    pub index: usize,
    /// The plugin's name in the config.
    pub plugin: Arc<str>,
    /// The route's config for it, a JSON object.
    pub config_json: String,
    /// Where it may send events, beside the route's own topic.
    pub topics_allowed: Vec<Arc<str>>,
}

impl Place {
    /// How its route uses the plugin.
    pub fn usage(&self) -> Use<'_> {
        Use { name: &self.plugin, config_json: &self.config_json, topics_allowed: &self.topics_allowed }
    }
}

#[derive(Clone, Debug)]
struct Version {
    description: Description,
    /// One for each of the plugin's places.
    plugins: Vec<Arc<Plugin>>,
    /// Its last run in the shadow.
    shadow: Option<Arc<Shadow>>,
}

/// A version's plugins, each with the route that it is for.
type Placed = Vec<(Arc<str>, Arc<Plugin>)>;

/// All plugins of this process, each in one version.
pub struct Versions {
    host: Option<Arc<Host>>,
    places: Vec<Place>,
    generation: ArcSwap<Chains>,
    /// By plugin, the oldest first. Held while one is published, so that two never mix.
    known: Mutex<BTreeMap<Arc<str>, Vec<Version>>>,
    staging: Mutex<()>,
}

impl Versions {
    /// No plugins at all.
    pub fn none() -> Self {
        Versions {
            host: None,
            places: Vec::new(),
            generation: ArcSwap::default(),
            known: Mutex::default(),
            staging: Mutex::default(),
        }
    }

    /// Loads each plugin from its file, and puts it in force. One whose places are what they were `earlier` keeps its
    /// versions; only what runs in the shadow does not go on.
    pub fn load(
        host: Arc<Host>,
        places: Vec<Place>,
        path: impl Fn(&str) -> PathBuf,
        earlier: Option<&Versions>,
    ) -> Result<Self, VersionError> {
        let versions = Versions { host: Some(host), places, ..Versions::none() };
        let mut chains: BTreeMap<Arc<str>, Vec<(usize, Arc<Plugin>)>> = BTreeMap::new();
        let mut known = BTreeMap::new();
        for name in versions.names() {
            let kept = earlier.and_then(|earlier| earlier.kept(&name, &versions));
            let all = match kept {
                Some(kept) => kept,
                None => vec![versions.first(&name, &path(&name))?],
            };
            let in_force = all.iter().filter(|version| version.description.stage == Stage::Active);
            for (place, plugin) in in_force.flat_map(|it| versions.places_of(&name).zip(&it.plugins)) {
                chains.entry(Arc::clone(&place.route)).or_default().push((place.index, Arc::clone(plugin)));
            }
            known.insert(name, all);
        }
        let in_order = |mut chain: Vec<(usize, Arc<Plugin>)>| {
            chain.sort_by_key(|(index, _)| *index);
            chain.into_iter().map(|(_, plugin)| plugin).collect()
        };
        let chains = chains.into_iter().map(|(route, chain)| (route, in_order(chain)));
        versions.generation.store(Arc::new(Chains::new(chains)));
        *versions.known() = known;
        Ok(versions)
    }

    /// A plugin's versions, if `later` uses it as it is used here.
    fn kept(&self, plugin: &str, later: &Versions) -> Option<Vec<Version>> {
        self.places_of(plugin).eq(later.places_of(plugin)).then(|| self.known().get(plugin).cloned())?
    }

    /// The version of a file, in force.
    fn first(&self, plugin: &str, path: &Path) -> Result<Version, VersionError> {
        let mut version = self.version(plugin, &self.read(path)?)?;
        for (place, plugin) in self.places_of(plugin).zip(&version.plugins) {
            self.stand_by(&place.route, plugin)?;
        }
        version.description.stage = Stage::Active;
        Ok(version)
    }

    /// Reads a file that may be a version.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, VersionError> {
        let host = self.host.as_ref().ok_or_else(|| VersionError::UnknownPlugin(String::new()))?;
        Ok(host.read(path)?)
    }

    /// The generation in force.
    pub fn generation(&self) -> Guard<Arc<Chains>> {
        self.generation.load()
    }

    /// Loads a version for all its places; no event meets it yet. Slow: compiles. Not for a worker.
    pub fn stage(&self, plugin: &str, bytes: &[u8]) -> Result<Description, VersionError> {
        // One at a time: each may take gigabytes and a minute to compile.
        let _one = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = super::artifact::digest(bytes);
        let known_already = |versions: &mut Vec<Version>| {
            let known = versions.iter().find(|known| *known.description.digest == *digest);
            known.map(|known| known.description.clone())
        };
        if let Some(description) = known_already(versions_of(&mut self.known(), plugin)?) {
            return Ok(description);
        }
        let version = self.version(plugin, bytes)?;
        let mut known = self.known();
        let versions = versions_of(&mut known, plugin)?;
        let description = version.description.clone();
        if versions.len() >= KEPT_MAX
            && let Some(place) = dispensable(versions)
        {
            versions.remove(place);
        }
        version.plugins.iter().for_each(|plugin| plugin.stand_down());
        versions.push(version);
        Ok(description)
    }

    /// Has guests of a plugin standing by, one for each worker.
    fn stand_by(&self, route: &Arc<str>, plugin: &Plugin) -> Result<(), VersionError> {
        let spares = self.host.as_ref().map_or(1, |host| host.settings.spares.max(1));
        let refused =
            |error: StartError| VersionError::Load { route: Arc::clone(route), error: error.into() };
        plugin.stand_by(spares).map_err(refused)
    }

    /// Lets a loaded version run in the shadow of the one in force, for one request in `every`. It takes the place of
    /// another one that did.
    pub fn shadow(&self, plugin: &str, digest: &str, every: u32) -> Result<Description, VersionError> {
        let mut known = self.known();
        let versions = versions_of(&mut known, plugin)?;
        let unknown = || VersionError::UnknownVersion {
            plugin: plugin.to_owned(),
            digest: digest.chars().take(64).collect(),
        };
        let wanted = versions.iter_mut().find(|version| *version.description.digest == *digest);
        let wanted = wanted.filter(|it| it.description.stage != Stage::Active).ok_or_else(unknown)?;
        let generation = self.generation.load();
        let shadow = Shadow::new(Arc::new(generation.with(&self.replaced(plugin, wanted))), every);
        let shadow = Arc::new(shadow);
        let next = generation.with_shadow(&self.routes_of(plugin), Some(&shadow));
        self.generation.store(Arc::new(next));
        wanted.shadow = Some(shadow);
        Ok(wanted.description.clone())
    }

    /// Ends a plugin's run in the shadow; its report stays.
    pub fn end_shadow(&self, plugin: &str) -> Result<(), VersionError> {
        let mut known = self.known();
        versions_of(&mut known, plugin)?;
        let next = self.generation.load().with_shadow(&self.routes_of(plugin), None);
        self.generation.store(Arc::new(next));
        Ok(())
    }

    fn routes_of(&self, plugin: &str) -> Vec<Arc<str>> {
        self.places_of(plugin).map(|place| Arc::clone(&place.route)).collect()
    }

    /// A version's plugins, each with its place.
    fn replaced(&self, plugin: &str, version: &Version) -> Vec<(Arc<str>, usize, Arc<Plugin>)> {
        let places = self.places_of(plugin).zip(&version.plugins);
        places.map(|(place, plugin)| (Arc::clone(&place.route), place.index, Arc::clone(plugin))).collect()
    }

    /// A version's plugins by route, unless it is in force already.
    fn plugins_of(&self, plugin: &str, digest: &str) -> Result<Placed, VersionError> {
        let mut known = self.known();
        let versions = versions_of(&mut known, plugin)?;
        let found = versions.iter().find(|it| *it.description.digest == *digest);
        let waiting = found.filter(|version| version.description.stage != Stage::Active);
        let plugins = waiting.map_or(Vec::new(), |version| version.plugins.clone());
        let routes = self.places_of(plugin).map(|place| Arc::clone(&place.route));
        Ok(routes.zip(plugins).collect())
    }

    /// Puts a loaded version in force, on all routes at once. One that sets keys only if that is allowed.
    pub fn activate(
        &self,
        plugin: &str,
        digest: &str,
        allow_key_changes: bool,
    ) -> Result<Description, VersionError> {
        // Started before anything changes, and before anyone is kept waiting.
        for (route, wanted) in self.plugins_of(plugin, digest)? {
            self.stand_by(&route, &wanted)?;
        }
        let mut known = self.known();
        let versions = versions_of(&mut known, plugin)?;
        let wanted = versions.iter().position(|version| *version.description.digest == *digest);
        let wanted = wanted.ok_or_else(|| VersionError::UnknownVersion {
            plugin: plugin.to_owned(),
            digest: digest.chars().take(64).collect(),
        })?;
        if versions[wanted].description.stage == Stage::Active {
            return Ok(versions[wanted].description.clone());
        }
        let was = versions.iter().find(|version| version.description.stage == Stage::Active);
        let sets_keys = was.into_iter().chain([&versions[wanted]]).any(|it| it.description.sets_keys);
        if sets_keys && !allow_key_changes && !versions[wanted].was_looked_at() {
            return Err(VersionError::Keys(plugin.to_owned()));
        }
        versions[wanted].plugins.iter().for_each(|plugin| plugin.pardon());
        self.publish(plugin, &versions[wanted]);
        for version in versions.iter_mut().filter(|version| version.description.stage == Stage::Active) {
            let stage = if version.in_quarantine() { Stage::Quarantined } else { Stage::Retired };
            version.description.enter(stage);
            version.plugins.iter().for_each(|plugin| plugin.stand_down());
        }
        // The newest in force is the last: going back takes the one before it.
        let mut version = versions.remove(wanted);
        version.description.enter(Stage::Active);
        let description = version.description.clone();
        versions.push(version);
        Ok(description)
    }

    /// Goes back to the version that was in force before.
    pub fn roll_back(&self, plugin: &str, allow_key_changes: bool) -> Result<Description, VersionError> {
        let earlier = {
            let mut known = self.known();
            let versions = versions_of(&mut known, plugin)?;
            let mut newest_first = versions.iter().rev();
            let retired = newest_first.find(|version| version.description.stage == Stage::Retired);
            retired.map(|version| Arc::clone(&version.description.digest))
        };
        let digest = earlier.ok_or_else(|| VersionError::NoEarlier(plugin.to_owned()))?;
        self.activate(plugin, &digest, allow_key_changes)
    }

    /// The plugins that routes use.
    pub(super) fn names(&self) -> BTreeSet<Arc<str>> {
        self.places.iter().map(|place| Arc::clone(&place.plugin)).collect()
    }

    /// Every plugin's versions, the newest last.
    pub fn list(&self) -> BTreeMap<Arc<str>, Vec<Description>> {
        let describe = |versions: &Vec<Version>| {
            let description = |version: &Version| Description {
                in_quarantine: version.in_quarantine(),
                shadow: version.shadow.as_ref().map(|shadow| shadow.report()),
                ..version.description.clone()
            };
            versions.iter().map(description).collect::<Vec<_>>()
        };
        self.known().iter().map(|(name, versions)| (Arc::clone(name), describe(versions))).collect()
    }

    /// The tables that could not be read yet.
    pub fn tables_absent(&self) -> Vec<&str> {
        self.host.as_ref().map(|host| host.tables.absent()).unwrap_or_default()
    }

    /// The routes whose plugins run on a thread of their own now, for being slow.
    pub fn aside(&self) -> Vec<Arc<str>> {
        self.generation().aside()
    }

    fn version(&self, plugin: &str, bytes: &[u8]) -> Result<Version, VersionError> {
        let host = self.host.as_ref().ok_or_else(|| VersionError::UnknownPlugin(plugin.to_owned()))?;
        let load = |place: &Place| {
            host.load_bytes(bytes, &place.usage())
                .map_err(|error| VersionError::Load { route: Arc::clone(&place.route), error })
        };
        let plugins = self.places_of(plugin).map(load).collect::<Result<Vec<_>, _>>()?;
        let first = plugins.first().ok_or_else(|| VersionError::UnknownPlugin(plugin.to_owned()))?;
        let description = Description {
            digest: Arc::clone(&first.digest),
            name: Arc::clone(&first.name),
            version: Arc::clone(&first.version),
            stage: Stage::Staged,
            since_s: now_s(),
            sets_keys: plugins.iter().any(|plugin| plugin.sets_keys()),
            in_quarantine: false,
            shadow: None,
        };
        Ok(Version { description, plugins, shadow: None })
    }

    fn publish(&self, plugin: &str, version: &Version) {
        let generation = self.generation.load().with(&self.replaced(plugin, version));
        self.generation.store(Arc::new(generation));
        let Description { name, version, digest, .. } = &version.description;
        tracing::info!(plugin, %name, %version, %digest, "a plugin version is in force");
    }

    fn places_of<'v>(&'v self, plugin: &'v str) -> impl Iterator<Item = &'v Place> {
        self.places.iter().filter(move |place| *place.plugin == *plugin)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<Version>>> {
        // Whoever panicked here had changed nothing, or everything.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Versions").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Version {
    /// Whether it ran in the shadow for long enough that an operator may know what it will change.
    fn was_looked_at(&self) -> bool {
        self.shadow.as_ref().is_some_and(|shadow| shadow.report().events >= SHADOWED_EVENTS_MIN)
    }

    fn in_quarantine(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin.is_quarantined())
    }
}

/// The one that is missed least: the oldest that nobody would go back to.
fn dispensable(versions: &[Version]) -> Option<usize> {
    let at = |wanted: &[Stage]| versions.iter().position(|known| wanted.contains(&known.description.stage));
    at(&[Stage::Staged, Stage::Quarantined]).or_else(|| at(&[Stage::Retired]))
}

fn versions_of<'k>(
    known: &'k mut BTreeMap<Arc<str>, Vec<Version>>,
    plugin: &str,
) -> Result<&'k mut Vec<Version>, VersionError> {
    known.get_mut(plugin).ok_or_else(|| VersionError::UnknownPlugin(plugin.to_owned()))
}
