//! The plugins of each route, in order, as a whole and as one worker's instances. The order of calls and what
//! happens in between are the pipeline's.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::instance::Instance;
use super::load::Plugin;

/// Each route's plugins, by the route's name.
#[derive(Clone, Debug, Default)]
pub struct Chains(HashMap<Arc<str>, (Vec<Arc<Plugin>>, SeenBy)>);

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
        Chains(with_plugins.map(|(route, plugins)| (route, with_seen_by(plugins))).collect())
    }

    /// Instances of all chains for the thread that calls this, already started.
    pub fn for_worker(&self) -> WorkerChains {
        let chain = |(plugins, seen_by): &(Vec<Arc<Plugin>>, SeenBy)| Chain {
            instances: plugins.iter().map(|plugin| warm(plugin)).collect(),
            seen_by: seen_by.clone(),
        };
        WorkerChains {
            chains: self.0.iter().map(|(route, plugins)| (Arc::clone(route), chain(plugins))).collect(),
            nobody: SeenBy { header: "".into(), receipt: "[]".into() },
        }
    }
}

/// A worker's instances, by route.
#[derive(Debug)]
pub struct WorkerChains {
    chains: HashMap<Arc<str>, Chain>,
    nobody: SeenBy,
}

impl WorkerChains {
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
fn warm(plugin: &Arc<Plugin>) -> Instance {
    let mut instance = Instance::new(Arc::clone(plugin));
    if let Err(error) = instance.warm() {
        tracing::warn!(?plugin, %error, "a plugin did not start");
    }
    instance
}

fn with_seen_by(plugins: Vec<Arc<Plugin>>) -> (Vec<Arc<Plugin>>, SeenBy) {
    let (mut header, mut receipt) = (String::new(), String::from("["));
    for (index, plugin) in plugins.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let Plugin { name, version, digest, .. } = &**plugin;
        // Names and versions were checked to need no escape.
        write!(header, "{comma}{name}@{version}+sha256:{digest}").expect("a String takes everything");
        write!(receipt, r#"{comma}{{"name":"{name}","version":"{version}","digest":"sha256:{digest}"}}"#)
            .expect("a String takes everything");
    }
    receipt.push(']');
    (plugins, SeenBy { header: header.into(), receipt: receipt.into() })
}
