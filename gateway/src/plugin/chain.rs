//! The plugins of each route, in order, as a whole and as one worker's instances. The order of calls and what
//! happens in between are the pipeline's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::instance::Instance;
use super::loaded::Plugin;

/// Each route's plugins, by the route's name: one generation, which never changes.
#[derive(Clone, Debug, Default)]
pub struct Chains(HashMap<Arc<str>, Link>);

/// A route's plugins, in order.
#[derive(Clone, Debug)]
struct Link {
    plugins: Vec<Arc<Plugin>>,
    seen_by: SeenBy,
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

impl Link {
    fn new(plugins: Vec<Arc<Plugin>>) -> Self {
        let seen_by = seen_by(&plugins);
        Link { plugins, seen_by }
    }
}

/// A worker's instances, by route, of the generation that it works with.
#[derive(Debug)]
pub struct WorkerChains {
    generation: Arc<Chains>,
    chains: HashMap<Arc<str>, Chain>,
    nobody: SeenBy,
}

impl WorkerChains {
    /// Instances of a generation for the thread that calls this, already started.
    pub fn new(generation: Arc<Chains>) -> Self {
        let nobody = SeenBy { header: "".into(), receipt: "[]".into() };
        let mut chains = WorkerChains { generation, chains: HashMap::new(), nobody };
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
        for (route, link) in &self.generation.0 {
            let mut warm = before.remove(route).map_or_else(Vec::new, |chain| chain.instances);
            let instances = link.plugins.iter().map(|plugin| {
                match warm.iter().position(|instance| Arc::ptr_eq(instance.plugin(), plugin)) {
                    Some(place) => warm.swap_remove(place),
                    None => started(plugin),
                }
            });
            let chain = Chain { instances: instances.collect(), seen_by: link.seen_by.clone() };
            self.chains.insert(Arc::clone(route), chain);
        }
    }

    /// Whether a route has plugins at all.
    pub fn has_plugins(&self, route: &str) -> bool {
        self.chains.contains_key(route)
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
}

impl Chain {
    /// The plugins, to be called one after the other.
    pub fn instances(&mut self) -> &mut [Instance] {
        &mut self.instances
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
