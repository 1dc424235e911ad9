//! The plugins of each route, in order, as a whole and as one worker's instances. The order of calls and what
//! happens in between are the pipeline's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::instance::Instance;
use super::loaded::Plugin;
use super::pace::Pace;
use super::shadow::Shadow;

/// Each route's plugins, by the route's name: one generation, which never changes.
#[derive(Clone, Debug, Default)]
pub struct Chains(HashMap<Arc<str>, Link>);

/// A route's plugins, in order.
#[derive(Clone, Debug)]
struct Link {
    plugins: Vec<Arc<Plugin>>,
    seen_by: SeenBy,
    pace: Arc<Pace>,
    /// Another version that is looked at beside them.
    shadow: Option<Arc<Shadow>>,
}

/// Which plugins see a route's events, in the forms that leave the house.
#[derive(Clone, Debug)]
pub struct SeenBy {
    /// The header `weir-plugins`: `name@version+sha256:<hex>`, comma-joined; empty for none.
    pub header: Arc<str>,
    /// For receipts: a JSON array of `{"name","version","digest"}`.
    pub receipt: Arc<str>,
}

impl Chains {
    /// The chains of the routes that have plugins.
    pub fn new(routes: impl IntoIterator<Item = (Arc<str>, Vec<Arc<Plugin>>)>) -> Self {
        let with_plugins = routes.into_iter().filter(|(_, plugins)| !plugins.is_empty());
        Chains(with_plugins.map(|(route, plugins)| (route, Link::new(plugins))).collect())
    }

    /// The routes whose plugins run on a thread of their own now, for being slow.
    pub fn aside(&self) -> Vec<Arc<str>> {
        let slow = self.0.iter().filter(|(_, link)| link.pace.is_aside());
        let mut routes: Vec<_> = slow.map(|(route, _)| Arc::clone(route)).collect();
        routes.sort();
        routes
    }

    /// The same with other plugins in some places: those of a route, by where they stand.
    #[must_use]
    pub(super) fn with(&self, replaced: &[(Arc<str>, usize, Arc<Plugin>)]) -> Self {
        let mut chains = self.clone();
        for (route, place, plugin) in replaced {
            if let Some(link) = chains.0.get_mut(route) {
                let mut plugins = link.plugins.clone();
                plugins[*place] = Arc::clone(plugin);
                *link = Link::new(plugins);
            }
        }
        chains
    }
}

impl Chains {
    /// The same, with this beside some routes' plugins, or with nothing.
    pub(super) fn with_shadow(&self, routes: &[Arc<str>], shadow: Option<&Arc<Shadow>>) -> Self {
        let mut chains = self.clone();
        for route in routes {
            if let Some(link) = chains.0.get_mut(route) {
                link.shadow = shadow.cloned();
            }
        }
        chains
    }
}

impl Link {
    fn new(plugins: Vec<Arc<Plugin>>) -> Self {
        let seen_by = seen_by(&plugins);
        Link { plugins, seen_by, pace: Arc::default(), shadow: None }
    }
}

/// A worker's instances, by route, of the generation that it works with.
#[derive(Debug)]
pub struct WorkerChains {
    generation: Arc<Chains>,
    /// The only route it works for, if there is but one.
    only: Option<Arc<str>>,
    chains: HashMap<Arc<str>, Chain>,
    nobody: SeenBy,
}

impl WorkerChains {
    /// Instances of a generation for the thread that calls this, already started: those of all routes, or of only one.
    pub fn new(generation: Arc<Chains>, only: Option<Arc<str>>) -> Self {
        let nobody = SeenBy { header: "".into(), receipt: "[]".into() };
        let mut chains = WorkerChains { generation, only, chains: HashMap::new(), nobody };
        chains.take_over();
        chains
    }

    /// Goes over to a generation, if it is another one. Plugins that stay keep their instances.
    pub fn adopt(&mut self, generation: &Arc<Chains>) {
        if !Arc::ptr_eq(&self.generation, generation) {
            self.generation = Arc::clone(generation);
            self.take_over();
        }
    }

    fn take_over(&mut self) {
        let mut before = std::mem::take(&mut self.chains);
        let wanted = |route: &Arc<str>| self.only.as_ref().is_none_or(|only| only == route);
        for (route, link) in self.generation.0.iter().filter(|(route, _)| wanted(route)) {
            let mut warm = before.remove(route).map_or_else(Vec::new, |chain| chain.instances);
            let instances = link.plugins.iter().map(|plugin| {
                match warm.iter().position(|instance| Arc::ptr_eq(instance.plugin(), plugin)) {
                    Some(place) => warm.swap_remove(place),
                    None => started(plugin),
                }
            });
            let (seen_by, pace, shadow) = (link.seen_by.clone(), Arc::clone(&link.pace), link.shadow.clone());
            let chain = Chain { instances: instances.collect(), seen_by, pace, shadow };
            self.chains.insert(Arc::clone(route), chain);
        }
    }

    /// The pace of a route's plugins, if it has some.
    pub fn pace(&self, route: &str) -> Option<&Pace> {
        self.chains.get(route).map(|chain| &*chain.pace)
    }

    /// What else is looked at for a route's requests.
    pub fn shadow(&self, route: &str) -> Option<&Arc<Shadow>> {
        self.chains.get(route)?.shadow.as_ref()
    }

    /// The generation that it works with.
    pub fn generation(&self) -> &Arc<Chains> {
        &self.generation
    }

    /// The chain of a route that has plugins.
    pub fn chain(&mut self, route: &str) -> Option<&mut Chain> {
        self.chains.get_mut(route)
    }

    /// Which plugins see a route's events.
    pub fn seen_by(&self, route: &str) -> &SeenBy {
        self.chains.get(route).map_or(&self.nobody, |chain| &chain.seen_by)
    }
}

/// A route's plugins on one worker, in order.
#[derive(Debug)]
pub struct Chain {
    instances: Vec<Instance>,
    seen_by: SeenBy,
    pace: Arc<Pace>,
    shadow: Option<Arc<Shadow>>,
}

impl Chain {
    /// The plugins, to be called one after the other, and how quick they are all together.
    pub fn parts(&mut self) -> (&mut [Instance], &Pace) {
        (&mut self.instances, &self.pace)
    }
}

/// An instance that did start when the plugin was loaded may fail now, for want of memory; it tries again
/// with its first call.
fn started(plugin: &Arc<Plugin>) -> Instance {
    let mut instance = Instance::new(Arc::clone(plugin));
    if let Err(error) = instance.warm() {
        tracing::warn!(?plugin, %error, "a plugin did not start");
    }
    instance
}

fn seen_by(plugins: &[Arc<Plugin>]) -> SeenBy {
    let (mut header, mut receipt) = (String::new(), String::from("["));
    for (index, plugin) in plugins.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let Plugin { name, version, digest, label, .. } = &**plugin;
        // Names and versions were checked to need no escape.
        write!(header, "{comma}{label}").expect("a String takes everything");
        write!(receipt, r#"{comma}{{"name":"{name}","version":"{version}","digest":"sha256:{digest}"}}"#)
            .expect("a String takes everything");
    }
    receipt.push(']');
    SeenBy { header: header.into(), receipt: receipt.into() }
}
