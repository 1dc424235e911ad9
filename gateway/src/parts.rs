//! From the config to the parts of the pipeline. Everything that can be wrong in a config and is only seen
//! when a part is made, is an error here and not at the first event.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::error::KafkaError;

use crate::access::Access;
use crate::access::signature::{Signature, SignatureSettings};
use crate::admission::{Acks, Throttle};
use crate::config::route_settings::{ChainSettings, RouteSettings, TypeSettings};
use crate::config::{self, Config};
use crate::event::{Limits, Rules, TypeRule};
use crate::http::doors::Listener;
use crate::http::tls::{self, Tls, TlsError};
use crate::kafka::producers::Producers;
use crate::kafka::sys::as_usual;
use crate::metrics::Metrics;
use crate::pipeline::{Lanes, Shadows, Shared};
use crate::plugin::{self, Compiler, Counters, Host, Place, Plugin, ReadHash, Tables, Versions};
use crate::route::{Match, Route, Routes, dead_letter_topic};
use crate::schema::{self, Registry, Schemas};
use crate::traces::Traces;
use crate::valkey;

/// What the config says cannot be made. Says which part, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(pub String);

/// What is made once and goes on whatever a later config says.
pub struct Lasting {
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// The ways to Kafka.
    pub producers: Arc<Producers>,
    /// Which requests are traced.
    pub traces: Traces,
    /// The host of all plugins, once there is one.
    host: OnceLock<Arc<Host>>,
}

/// What is made once.
pub fn lasting(config: &Config) -> Result<Lasting, Unusable> {
    let metrics = Metrics::new().map_err(|error| Unusable(error.to_string()))?;
    Ok(Lasting {
        producers: Arc::new(producers(config)?),
        traces: traces(config, &metrics)?,
        metrics: Arc::new(metrics),
        host: OnceLock::new(),
    })
}

/// The pipeline's shared parts. Of the `earlier` ones it takes over what is the same, and what was counted.
pub fn shared(config: &Config, lasting: &Lasting, earlier: Option<&Shared>) -> Result<Shared, Unusable> {
    let metrics = &lasting.metrics;
    let routes = Routes::new(config.routes.iter().map(route).collect());
    let route_metrics = Shared::route_metrics(&routes, metrics);
    let limits = &config.limits;
    let tenants = routes.iter().map(|route| route.tenant.clone());
    Ok(Shared {
        schemas: Schemas::new(registry(config)?),
        plugins: plugins(config, lasting, earlier)?,
        producers: Arc::clone(&lasting.producers),
        metrics: route_metrics,
        lanes: Lanes::new(&routes),
        shadows: Shadows::default(),
        throttle: Throttle::new(
            &limits.tenants,
            limits.other_tenants,
            tenants,
            earlier.map(|earlier| &earlier.throttle),
        ),
        acks: acks(limits, earlier),
        limits: event_limits(config),
        answer_timeout: Duration::from_millis(limits.answer_timeout_ms),
        routes,
    })
}

fn acks(limits: &config::limits::Limits, earlier: Option<&Shared>) -> Arc<Acks> {
    let target = Duration::from_millis(limits.ack_target_ms);
    let same = earlier.map(|earlier| &earlier.acks).filter(|acks| acks.target() == target);
    same.map_or_else(|| Acks::new(target), Arc::clone)
}

/// Who may do what.
pub fn access(config: &Config, metrics: &Metrics) -> Result<Arc<Access>, Unusable> {
    Access::start(&config.access, metrics).map_err(|error| Unusable(error.to_string()))
}

/// TLS of the public listener, and of the admin listener.
pub fn tls(config: &Config, metrics: &Metrics) -> Result<[Option<Arc<Tls>>; 2], Unusable> {
    let unusable = |error: TlsError| Unusable(error.to_string());
    let counters = tls::Counters::new(metrics.registry()).map_err(|error| Unusable(error.to_string()))?;
    let start = |settings: &Option<tls::Settings>, listener| {
        settings.as_ref().map(|settings| Tls::start(settings, listener, &counters)).transpose()
    };
    let listen = start(&config.tls, Listener::Public).map_err(unusable)?;
    Ok([listen, start(&config.admin_tls, Listener::Admin).map_err(unusable)?])
}

fn traces(config: &Config, metrics: &Metrics) -> Result<Traces, Unusable> {
    let Some(settings) = config.traces.clone() else { return Ok(Traces::default()) };
    Traces::start(settings, metrics.registry()).map_err(|error| Unusable(error.to_string()))
}

/// How the events of routes are signed, by the route's name.
pub fn signatures(config: &Config) -> Result<HashMap<Arc<str>, Signature>, Unusable> {
    let signed = config.routes.iter().filter_map(|route| Some((route, route.signature.as_ref()?)));
    let signature = |(route, settings): (&RouteSettings, &SignatureSettings)| {
        let signature = Signature::new(settings);
        let signature = signature.map_err(|error| Unusable(format!("route {}: {error}", route.name)))?;
        Ok((route.name.as_str().into(), signature))
    };
    signed.map(signature).collect()
}

/// A route's settings in the words of the pipeline.
pub fn route(settings: &RouteSettings) -> Route {
    let event_type = match &settings.event_type {
        None => TypeRule::Constant(settings.name.clone()),
        Some(TypeSettings::Constant(constant)) => TypeRule::Constant(constant.clone()),
        Some(TypeSettings::Selected(selector)) => TypeRule::From(selector.clone()),
    };
    let source = settings.source.clone().unwrap_or_else(|| format!("/v1/events/{}", settings.name));
    Route {
        name: settings.name.as_str().into(),
        tenant: settings.tenant.clone(),
        signed: settings.signature.is_some(),
        path: settings.matching.path.as_deref().unwrap_or(&settings.name).into(),
        matching: Match {
            event_type: settings.matching.event_type.clone(),
            source: settings.matching.source.clone(),
        },
        rules: Rules { id: settings.id.clone(), event_type, source },
        key: settings.key.clone(),
        subject: settings.subject.clone(),
        after_plugins: settings.after_plugins.clone(),
        content_mode: settings.kafka_content_mode,
        topic: settings.topic.as_str().into(),
        topics_allowed: settings.topics_allowed.iter().map(|topic| topic.as_str().into()).collect(),
        on_error: settings.on_error,
        browser: settings.browser.clone(),
        dead_letter_topic: dead_letter_topic(&settings.topic).into(),
    }
}

/// Bounds on one event.
pub fn event_limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        event_bytes_max: limits.event_bytes_max,
        batch_events_max: limits.batch_events_max,
        depth_max: limits.depth_max,
        nodes_max: limits.nodes_max,
    }
}

/// The schemas.
pub fn registry(config: &Config) -> Result<Registry, Unusable> {
    let Some(directory) = &config.schemas else {
        return Ok(Registry::default());
    };
    let loaded = Registry::load(directory, &schema::Limits::default());
    loaded.map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Unusable(lines.join("\n"))
    })
}

/// The plugins, whose files are followed from now on.
fn plugins(config: &Config, lasting: &Lasting, earlier: Option<&Shared>) -> Result<Arc<Versions>, Unusable> {
    let host = || match lasting.host.get() {
        Some(host) => Ok(Arc::clone(host)),
        None => {
            // Its clock would wait for the guests that it is to stop, if a thread that waits started it.
            let host = as_usual(|| plugin_host(config, &lasting.metrics, read_hash(config)).map(Arc::new));
            host.map(|host| Arc::clone(lasting.host.get_or_init(|| host)))
        }
    };
    let versions = Arc::new(load(config, host, earlier.map(|earlier| &*earlier.plugins))?);
    versions.follow(plugin_paths(config)).map_err(|error| Unusable(format!("plugins: {error}")))?;
    Ok(versions)
}

/// Every plugin that a route uses, loaded with the route's config for it.
pub fn versions(config: &Config, metrics: &Metrics) -> Result<Versions, Unusable> {
    load(config, || plugin_host(config, metrics, read_hash(config)).map(Arc::new), None)
}

fn load(
    config: &Config,
    host: impl FnOnce() -> Result<Arc<Host>, String>,
    earlier: Option<&Versions>,
) -> Result<Versions, Unusable> {
    let places = config.routes.iter().map(places).collect::<Result<Vec<_>, _>>()?.concat();
    if places.is_empty() {
        return Ok(Versions::none());
    }
    let loaded = Versions::load(host().map_err(Unusable)?, places, plugin_paths(config), earlier);
    loaded.map_err(|error| Unusable(format!("plugins: {error}")))
}

fn plugin_paths(config: &Config) -> impl Fn(&str) -> PathBuf + use<> {
    let plugins = config.plugins.clone();
    move |plugin| plugins.get(plugin).map(|plugin| plugin.path.clone()).unwrap_or_default()
}

/// A route's uses of plugins.
fn places(route: &RouteSettings) -> Result<Vec<Place>, Unusable> {
    let allowed: Vec<Arc<str>> = route.topics_allowed.iter().map(|topic| topic.as_str().into()).collect();
    let place = |(index, link): (usize, &ChainSettings)| {
        let config_json = serde_json::to_string(&link.config)
            .map_err(|error| Unusable(format!("route {}: plugin {}: {error}", route.name, link.plugin)))?;
        Ok(Place {
            route: route.name.as_str().into(),
            index,
            plugin: link.plugin.as_str().into(),
            config_json,
            topics_allowed: allowed.clone(),
        })
    };
    route.plugins.iter().enumerate().map(place).collect()
}

/// How tables that are hashes are read; absent without a Valkey. The password is looked up anew each time.
pub fn read_hash(config: &Config) -> Option<ReadHash> {
    let valkey = config.valkey.clone()?;
    Some(Arc::new(move |hash, bytes_max| {
        let settings = valkey.reveal().map_err(|error| error.to_string())?;
        valkey::read_hash(&settings, hash, bytes_max).map_err(|error| error.to_string())
    }))
}

/// The host of all plugins of this process. Without `read_hash`, tables that are hashes stay absent.
pub fn plugin_host(config: &Config, metrics: &Metrics, read_hash: Option<ReadHash>) -> Result<Host, String> {
    let compiler = Compiler::own_binary().map_err(|error| error.to_string())?;
    let counters = Counters::new(metrics.registry()).map_err(|error| error.to_string())?;
    let tables = Arc::new(Tables::load(&config.tables, read_hash).map_err(|error| error.to_string())?);
    tables.follow(counters.clone()).map_err(|error| error.to_string())?;
    let settings = plugin::Settings {
        cache: config.plugin_cache.clone(),
        spares: config.worker_count(),
        ..config.plugin_limits.clone()
    };
    Host::new(settings, compiler, counters, tables).map_err(|error| error.to_string())
}

/// One route's plugins in order.
pub fn chain(config: &Config, host: &Host, route: &RouteSettings) -> Result<Vec<Arc<Plugin>>, Unusable> {
    let load = |place: &Place| {
        let path = config.plugins.get(&*place.plugin).map(|plugin| plugin.path.as_path());
        let path = path.ok_or_else(|| "it is not under `plugins`".to_owned())?;
        host.load(path, &place.usage()).map_err(|error| format!("{}: {error}", path.display()))
    };
    let loaded = places(route)?.into_iter().map(|place| {
        let refused = |why| Unusable(format!("route {}: plugin {}: {why}", route.name, place.plugin));
        load(&place).map_err(refused)
    });
    loaded.collect()
}

fn producers(config: &Config) -> Result<Producers, Unusable> {
    let settings = config.kafka.producer_config(config.limits.record_bytes_max());
    let settings = settings.map_err(|error| Unusable(error.to_string()))?;
    Producers::start(settings, topics(config), config.worker_count()).map_err(refused)
}

/// librdkafka's own text repeats the value of a setting it refuses, which may be a secret.
fn refused(error: KafkaError) -> Unusable {
    match error {
        KafkaError::ClientConfig(_, why, name, _value) => {
            Unusable(format!("kafka: property `{name}`: {why}"))
        }
        other => Unusable(format!("kafka: {other}")),
    }
}

/// Every topic that a record may go to.
pub fn topics(config: &Config) -> Vec<Arc<str>> {
    let topics = config.routes.iter().flat_map(RouteSettings::topics);
    let mut topics: Vec<Arc<str>> = topics.map(Into::into).collect();
    topics.sort();
    topics.dedup();
    topics
}
