//! `weir test`: the tests beside the config's routes, run by the engine of production up to where a record would be
//! produced. Needs neither Kafka nor Valkey.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Failure, Output, load_with, print};
use crate::config::Config;
use crate::config::route_settings::RouteSettings;
use crate::config::route_tests::{
    ExpectedDeadLetter, ExpectedDrop, ExpectedProblem, ExpectedRecord, RouteTest,
};
use crate::event::Headers;
use crate::event::frame::Framing;
use crate::event::structured::holds_events;
use crate::metrics::Metrics;
use crate::parts;
use crate::pipeline::{Fate, Rehearsal, Rehearsed, Scene, Shape};
use crate::route::{Reason, Route};
use crate::schema::Registry;

const AFTER_HELP: &str = "\
Beside a route in the config:
  tests:
    - name: an order is keyed by its user
      event: {order_id: o-1, customer: {user_id: u-7}}      # or cloudevent: {…}; headers: {x-tenant: t}
      record: {key: u-7, headers: {weir-route: orders}}     # topic, data; only what is named is compared
    - name: a total is a number
      event: {order_id: o-1, total: many}
      problem: {code: schema-violation, pointers: [/total]}
    - name: test traffic is dropped
      event: {test: true}
      dropped: {plugin: no-tests}                           # or dead_letter: {code: verdict}

Exit codes: 0 all passed; 1 some failed; 64 the config is wrong, or has no tests.";

/// Flags of `weir test`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TestArgs {
    /// The config file.
    #[arg(short, long, value_name = "FILE")]
    pub config: std::path::PathBuf,
    /// Only this route's tests.
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    /// How to print the results.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How one test went.
#[derive(Debug, Serialize)]
struct Tested {
    route: String,
    name: String,
    /// What is not as expected; none if it passed.
    differences: Vec<String>,
}

/// `weir test`.
pub fn run(args: &TestArgs) -> Result<ExitCode, Failure> {
    // Kafka is not needed, and so need not be configured: `weir dev`'s config is not.
    let no_kafka = [("BROKERS", r#"["nobody:9092"]"#), ("ALLOW_WEAK_TOPICS", "true")];
    let no_kafka = no_kafka.map(|(key, value)| (format!("WEIR__KAFKA__{key}"), value.to_owned()));
    let config = load_with(&args.config, no_kafka)?.config;
    let wanted = |route: &&RouteSettings| args.route.as_ref().is_none_or(|name| *name == route.name);
    let routes: Vec<_> = config.routes.iter().filter(wanted).collect();
    if routes.iter().all(|route| route.tests.is_empty()) {
        let none = "no tests: put `tests:` beside a route; `weir test --help` shows how";
        return Err(Failure::Config(none.to_owned()));
    }
    let tested = test(&config, &routes)?;
    let failed = tested.iter().filter(|test| !test.differences.is_empty()).count();
    print(&match args.output {
        Output::Text => text(&tested, failed),
        Output::Json => {
            let passed = tested.len() - failed;
            format!("{:#}\n", json!({"passed": passed, "failed": failed, "tests": tested}))
        }
    })?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(tested: &[Tested], failed: usize) -> String {
    let mut text = String::new();
    for Tested { route, name, differences } in tested {
        let mark = if differences.is_empty() { '✓' } else { '✗' };
        text += &format!("{mark} {route}: {name}\n");
        differences.iter().for_each(|difference| text += &format!("    {difference}\n"));
    }
    text + &format!("{} passed, {failed} failed\n", tested.len() - failed)
}

fn test(config: &Config, routes: &[&RouteSettings]) -> Result<Vec<Tested>, Failure> {
    let unusable = |error: parts::Unusable| Failure::Config(error.to_string());
    let metrics = Metrics::new().map_err(|error| Failure::Other(error.to_string()))?;
    let versions = parts::versions(config, &metrics).map_err(unusable)?;
    let registry = parts::registry(config).map_err(unusable)?;
    let limits = parts::event_limits(config);
    let mut tested = Vec::new();
    for settings in routes {
        let route = Arc::new(parts::route(settings));
        let chains = Arc::clone(&versions.generation());
        let rehearsal = Rehearsal::new(limits, chains, &route.name);
        let mut rehearsal = rehearsal.map_err(|problem| Failure::Other(problem.to_string()))?;
        for test in &settings.tests {
            let differences = match fate(&mut rehearsal, &route, &registry, test) {
                Ok(fate) => differences(test, &fate),
                Err(why) => vec![why],
            };
            tested.push(Tested { route: settings.name.clone(), name: test.name.clone(), differences });
        }
    }
    Ok(tested)
}

fn fate(
    rehearsal: &mut Rehearsal,
    route: &Arc<Route>,
    registry: &Registry,
    test: &RouteTest,
) -> Result<Fate, String> {
    let shape = if test.cloudevent.is_some() { Shape::Structured } else { Shape::Plain };
    let written = test.cloudevent.as_ref().or(test.event.as_ref()).unwrap_or(&Value::Null).to_string();
    let mut headers = Headers::new();
    for (name, value) in &test.headers {
        let name: http::HeaderName = name.parse().map_err(|_| format!("`{name}` is no header"))?;
        headers.insert(name, value.parse().map_err(|_| "a header's value is none".to_owned())?);
    }
    let scene = Scene {
        route,
        registry,
        shape,
        framing: Framing::Single,
        headers: &headers,
        body: written.as_bytes(),
        time: SystemTime::now(),
    };
    match rehearsal.run(&scene) {
        Ok(mut fates) => fates.pop().ok_or_else(|| "there was no event".to_owned()),
        Err(problem) => Ok(Fate::Refused(problem)),
    }
}

/// What is not as the test expects; nothing if all is.
fn differences(test: &RouteTest, fate: &Fate) -> Vec<String> {
    match (test, fate) {
        (RouteTest { record: Some(expected), .. }, Fate::Stored(record)) => of_record(expected, record),
        (RouteTest { dead_letter: Some(expected), .. }, Fate::DeadLettered(record, reason)) => {
            of_dead_letter(expected, record, reason)
        }
        (
            RouteTest { dropped: Some(ExpectedDrop { plugin, reason }), .. },
            Fate::Dropped { plugin: by, reason: why },
        ) => {
            let plugin = unlike("plugin", plugin.as_deref(), Some(by));
            plugin.into_iter().chain(unlike("reason", reason.as_deref(), why.as_deref())).collect()
        }
        (RouteTest { problem: Some(ExpectedProblem { code, pointers }), .. }, Fate::Refused(problem)) => {
            let named: Vec<_> = problem.violations.iter().map(|it| it.pointer.as_str()).collect();
            let missing = pointers.iter().filter(|pointer| !named.contains(&pointer.as_str()));
            let missing = missing.map(|pointer| format!("pointers: `{pointer}` is not among {named:?}"));
            unlike("code", code.as_deref(), Some(problem.code.name())).into_iter().chain(missing).collect()
        }
        (_, fate) => vec![format!("it would end otherwise: {}", told(fate))],
    }
}

fn of_record(expected: &ExpectedRecord, record: &Rehearsed) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(unlike("topic", expected.topic.as_deref(), Some(&record.topic)));
    all.extend(unlike("key", expected.key.as_deref(), record.key.as_deref()));
    for (name, value) in &expected.headers {
        let got = record.header(name);
        if value.as_deref() != got {
            let told =
                |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("`{text}`"));
            all.push(format!("header {name}: expected {}, got {}", told(value.as_deref()), told(got)));
        }
    }
    if let Some(data) = &expected.data {
        let got: Option<Value> = serde_json::from_slice(&record.value).ok();
        // In structured mode it is a member of the value.
        let enveloped = record.header("content-type").is_some_and(holds_events);
        let got = if enveloped { got.and_then(|it| it.get("data").cloned()) } else { got };
        if got.as_ref() != Some(data) {
            let got = got.map_or_else(|| "what is not JSON".to_owned(), |got| got.to_string());
            all.push(format!("data: expected {data}, got {got}"));
        }
    }
    all
}

fn of_dead_letter(expected: &ExpectedDeadLetter, record: &Rehearsed, reason: &Reason) -> Vec<String> {
    let code = unlike("code", expected.code.as_deref(), Some(reason.code));
    let text = unlike("reason", expected.reason.as_deref(), Some(&reason.text));
    code.into_iter()
        .chain(text)
        .chain(unlike("key", expected.key.as_deref(), record.key.as_deref()))
        .collect()
}

/// A member that was expected and is another, or not there.
fn unlike(member: &str, expected: Option<&str>, got: Option<&str>) -> Option<String> {
    let wrong = expected.is_some() && expected != got;
    let got = got.map_or_else(|| "nothing".to_owned(), |got| format!("`{got}`"));
    wrong.then(|| format!("{member}: expected `{}`, got {got}", expected.unwrap_or_default()))
}

fn told(fate: &Fate) -> String {
    match fate {
        Fate::Refused(problem) => {
            let places = problem.violations.iter().map(|it| format!("; {} {}", it.pointer, it.detail));
            format!("{problem}{}", places.collect::<String>())
        }
        Fate::DeadLettered(_, Reason { code, text, .. }) => format!("dead-lettered ({code}: {text})"),
        Fate::Dropped { plugin, .. } => format!("dropped by {plugin}"),
        Fate::Stored(record) => format!("stored in {} under {:?}", record.topic, record.key),
    }
}
