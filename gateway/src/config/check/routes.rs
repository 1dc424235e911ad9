//! Whether the routes can live side by side: one topic one route, no two for the same path, names that fit.
//!
//! Spelling of selectors and templates is refused earlier, when they are typed.

use super::{Config, Finding, NAME_RULE, is_name};
use crate::config::globs::overlap;
use crate::config::route_settings::{MatchSettings, RouteSettings, TopicSettings};
use crate::config::typed::nearest;
use crate::kafka::admin::{MIN_INSYNC_REPLICAS_MIN, REPLICATION_FACTOR_MIN};
use crate::route::AfterPlugins;

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    if config.routes.is_empty() {
        findings.push(Finding::error("routes", "there is no route: every event would be refused"));
    }
    for (index, route) in config.routes.iter().enumerate() {
        let at = format!("routes/{index}");
        names(&at, route, findings);
        chain(&at, route, config, findings);
        subjects(&at, route, config, findings);
        topic_settings(&at, route, config, findings);
        origins(&at, route, findings);
        window(&at, route, findings);
        tests(&at, route, findings);
        for earlier in &config.routes[..index] {
            contention(&at, route, earlier, findings);
        }
    }
}

fn tests(at: &str, route: &RouteSettings, findings: &mut Vec<Finding>) {
    for (index, test) in route.tests.iter().enumerate() {
        if let Some(fault) = test.fault() {
            let help = "`weir test --help` shows how a test is written";
            findings.push(Finding::error(format!("{at}/tests/{index}"), fault).help(help));
        }
    }
}

fn names(at: &str, route: &RouteSettings, findings: &mut Vec<Finding>) {
    let path = route.matching.path.as_deref();
    for (key, name) in [("name", Some(route.name.as_str())), ("match/path", path)] {
        if let Some(name) = name.filter(|name| !is_name(name)) {
            let message = format!("`{name}` cannot name a route");
            findings.push(Finding::error(format!("{at}/{key}"), message).help(NAME_RULE));
        }
    }
    let allowed = route.topics_allowed.iter().enumerate();
    let topics = allowed.map(|(index, topic)| (format!("{at}/topics_allowed/{index}"), topic));
    for (path, topic) in topics.chain([(format!("{at}/topic"), &route.topic)]) {
        if let Err(reason) = topic_name(topic) {
            findings.push(Finding::error(path, format!("`{topic}` cannot be a route's topic: {reason}")));
        }
    }
    if route.source.as_ref().is_some_and(|source| source.is_empty() || source.contains(char::is_control)) {
        findings.push(Finding::error(format!("{at}/source"), "a source is a URI, e.g. `https://github.com`"));
    }
}

/// Kafka's rule for topic names, with room for `.dead-letter` behind them.
fn topic_name(topic: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match topic {
        "" => Err("it is empty"),
        "." | ".." => Err("Kafka does not allow it"),
        _ if !topic.bytes().all(legal) => Err("Kafka allows letters, digits, `.`, `_` and `-`"),
        _ if topic.len() > 249 - ".dead-letter".len() => Err("it is too long for `<topic>.dead-letter`"),
        _ if topic.ends_with(".dead-letter") => Err("that is where a route's dead letters go"),
        _ if topic.starts_with("_weir_") || topic.starts_with("__") => Err("that name is internal"),
        _ => Ok(()),
    }
}

fn chain(at: &str, route: &RouteSettings, config: &Config, findings: &mut Vec<Finding>) {
    for (index, link) in route.plugins.iter().enumerate() {
        if !config.plugins.contains_key(&link.plugin) {
            let message = format!("there is no plugin `{}` under `plugins`", link.plugin);
            let finding = Finding::error(format!("{at}/plugins/{index}/plugin"), message);
            findings.push(match nearest(&link.plugin, config.plugins.keys().map(String::as_str)) {
                Some(meant) => finding.help(format!("did you mean `{meant}`?")),
                None => finding.help(format!("add `plugins: {{{}: {{path: …}}}}`", link.plugin)),
            });
        }
    }
    if route.plugins.is_empty() && route.after_plugins != AfterPlugins::default() {
        findings.push(Finding::warning(format!("{at}/after_plugins"), "the route has no plugins"));
    }
    if route.plugins.is_empty() && !route.topics_allowed.is_empty() {
        findings
            .push(Finding::warning(format!("{at}/topics_allowed"), "only a plugin can choose another topic"));
    }
}

fn subjects(at: &str, route: &RouteSettings, config: &Config, findings: &mut Vec<Finding>) {
    let constant = route.subject.as_ref().and_then(|subject| subject.constant());
    let after = match &route.after_plugins {
        AfterPlugins::Subject(subject) => Some(subject.as_str()),
        AfterPlugins::Same | AfterPlugins::Off => None,
    };
    for (key, subject) in [("subject", constant), ("after_plugins", after)] {
        if let Some(subject) = subject.filter(|subject| !is_subject(subject)) {
            findings.push(
                Finding::error(format!("{at}/{key}"), format!("`{subject}` cannot be a subject"))
                    .help("letters, digits, `.`, `_`, `-`, and `/` between folders"),
            );
        }
    }
    if config.schemas.is_none() && (route.subject.is_some() || after.is_some()) {
        let key = if route.subject.is_some() { "subject" } else { "after_plugins" };
        findings.push(
            Finding::error(format!("{at}/{key}"), "there are no schemas")
                .help("add `schemas: ./schemas`, a folder of <subject>/<version>.json"),
        );
    }
}

/// What a browser sends as `Origin` (RFC 6454 §6.2): a scheme and an authority, and nothing behind.
fn origins(at: &str, route: &RouteSettings, findings: &mut Vec<Finding>) {
    for (index, origin) in route.browser.origins.iter().enumerate() {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_origin = authority.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '*', ' ']));
        if origin != "*" && !is_origin {
            let message = format!("`{origin}` is no origin");
            let finding = Finding::error(format!("{at}/browser/origins/{index}"), message);
            findings.push(finding.help("e.g. `https://shop.example`, without a path; or `*`"));
        }
    }
}

/// A subject is a path below the schemas' folder, and nothing above it.
fn is_subject(subject: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    subject.len() <= 255
        && subject
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(legal))
}

fn topic_settings(at: &str, route: &RouteSettings, config: &Config, findings: &mut Vec<Finding>) {
    let TopicSettings { partitions, replication_factor, min_insync_replicas, max_message_bytes, .. } =
        route.topic_settings;
    let mut refuse = |key: &str, message: String| {
        findings.push(Finding::error(format!("{at}/topic_settings/{key}"), message))
    };
    for (key, number) in [
        ("partitions", partitions),
        ("replication_factor", replication_factor),
        ("min_insync_replicas", min_insync_replicas),
    ] {
        if number < 1 {
            refuse(key, format!("`{key}` must be at least 1"));
        }
    }
    if min_insync_replicas > replication_factor {
        refuse("min_insync_replicas", "more in-sync replicas than copies: nothing would be acked".to_owned());
    }
    let weak = replication_factor < REPLICATION_FACTOR_MIN || min_insync_replicas < MIN_INSYNC_REPLICAS_MIN;
    if weak && !config.kafka.allow_weak_topics {
        refuse(
            if replication_factor < REPLICATION_FACTOR_MIN {
                "replication_factor"
            } else {
                "min_insync_replicas"
            },
            format!(
                "a topic with fewer than {REPLICATION_FACTOR_MIN} copies or {MIN_INSYNC_REPLICAS_MIN} in sync may \
                 lose acked events; `kafka.allow_weak_topics: true` accepts that"
            ),
        );
    }
    let record_bytes_max = config.limits.record_bytes_max();
    if max_message_bytes.is_some_and(|bytes| bytes < record_bytes_max) {
        refuse(
            "max_message_bytes",
            format!("the largest event needs {record_bytes_max} (`limits.event_bytes_max` and 64 KiB)"),
        );
    }
}

fn window(at: &str, route: &RouteSettings, findings: &mut Vec<Finding>) {
    let Some(window) = &route.recent.0 else { return };
    let window_ms = i64::try_from(window.window_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    if (0..window_ms).contains(&route.topic_settings.retention_ms) {
        let message = format!("shorter than the lookup window of {window_ms} ms");
        findings.push(Finding::error(format!("{at}/topic_settings/retention_ms"), message));
    }
    if window.window_s == 0 || window.per_key == 0 || window.partition_bytes_max == 0 {
        findings.push(
            Finding::error(format!("{at}/recent"), "a window of 0 keeps nothing")
                .help("write `recent: false`"),
        );
    }
}

/// What a route and an earlier one cannot both have.
fn contention(at: &str, route: &RouteSettings, other: &RouteSettings, findings: &mut Vec<Finding>) {
    if route.name == other.name {
        findings.push(Finding::error(format!("{at}/name"), format!("two routes are named `{}`", route.name)));
        return;
    }
    for topic in route.topics() {
        if let Some(taken) = other.topics().find(|taken| collide(taken, &topic)) {
            let message = format!("the topic `{topic}` belongs to the route `{}` already", other.name);
            let finding = Finding::error(format!("{at}/topic"), message);
            findings.push(if taken == topic {
                finding.help("one topic belongs to one route: give this one a topic of its own")
            } else {
                finding.help(format!("Kafka cannot tell it from `{taken}`: `.` and `_` count as the same"))
            });
        }
    }
    if path(route) == path(other) {
        let message =
            format!("`POST /v1/events/{}` belongs to the route `{}` already", path(route), other.name);
        findings.push(Finding::error(format!("{at}/match"), message));
    }
    if both_overlap(route, other) {
        let message = format!("an event may match both this route and `{}`, which comes first", other.name);
        findings.push(Finding::warning(format!("{at}/match"), message));
    }
}

/// Kafka refuses topics that differ only in `.` and `_`.
fn collide(a: &str, b: &str) -> bool {
    a.replace('.', "_") == b.replace('.', "_")
}

fn path(route: &RouteSettings) -> &str {
    route.matching.path.as_deref().unwrap_or(&route.name)
}

/// Whether one CloudEvent fits both. A route without `type` and `source` takes none.
fn both_overlap(a: &RouteSettings, b: &RouteSettings) -> bool {
    let (a, b) = (&a.matching, &b.matching);
    let takes_any = |it: &MatchSettings| it.event_type.is_some() || it.source.is_some();
    let fits = |a: &Option<String>, b: &Option<String>| {
        overlap(a.as_deref().unwrap_or("*"), b.as_deref().unwrap_or("*"))
    };
    takes_any(a) && takes_any(b) && fits(&a.event_type, &b.event_type) && fits(&a.source, &b.source)
}
