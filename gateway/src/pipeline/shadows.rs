//! The thread on which versions run in the shadow of those in force. It gets copies of requests and what all others
//! leave of the machine; when it is behind, requests are skipped.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;

use super::Shape;
use super::accepted::Accepted;
use super::rehearsal::{Fate, Rehearsal, Rehearsed, Scene};
use crate::event::frame::Framing;
use crate::event::{Headers, Limits};
use crate::kafka::sys::schedule_when_idle;
use crate::plugin::{Chains, Difference, Shadow};
use crate::problem::Problem;
use crate::route::{ContentMode, Route};
use crate::schema::Registry;

/// Requests that may wait.
const QUEUE_MAX: usize = 16;
/// A value in a report is cut to so many characters.
const SHOWN_MAX: usize = 128;
/// They name the version, which always differs, or the moment.
const OF_NO_INTEREST: [&str; 2] = ["weir-plugins", "weir-dead-letter-plugin"];

/// The way to the thread, which is started with the first request for it.
#[derive(Debug, Default)]
pub struct Shadows(OnceLock<Option<SyncSender<Copied>>>);

/// A request to be rehearsed with both versions.
struct Copied {
    shadow: Arc<Shadow>,
    in_force: Arc<Chains>,
    route: Arc<Route>,
    registry: Arc<Registry>,
    shape: Shape,
    framing: Framing,
    headers: Headers,
    body: Bytes,
    time: SystemTime,
    limits: Limits,
}

impl Shadows {
    /// Hands over a copy of a request, if there is time for it.
    pub(super) fn look_at(
        &self,
        request: &Accepted,
        shadow: &Arc<Shadow>,
        in_force: Arc<Chains>,
        limits: Limits,
    ) {
        let copied = Copied {
            shadow: Arc::clone(shadow),
            in_force,
            route: Arc::clone(&request.route),
            registry: Arc::clone(&request.registry),
            shape: request.shape,
            framing: request.framing,
            headers: request.headers.clone(),
            body: request.body.clone(),
            time: request.time,
            limits,
        };
        let queue = self.0.get_or_init(start);
        if queue.as_ref().is_none_or(|queue| queue.try_send(copied).is_err()) {
            shadow.skipped();
        }
    }
}

fn start() -> Option<SyncSender<Copied>> {
    let (queue, copies) = sync_channel(QUEUE_MAX);
    let run = move || {
        if let Err(error) = schedule_when_idle() {
            tracing::warn!(%error, "versions in the shadow have the workers' priority");
        }
        run(&copies);
    };
    let started = std::thread::Builder::new().name("plugin-shadow".to_owned()).spawn(run);
    started.inspect_err(|error| tracing::error!(%error, "no thread for versions in the shadow")).ok()?;
    Some(queue)
}

/// Both versions on one route: the shadow that it is for, the version in force, and the other.
type Stage = (Arc<Shadow>, Rehearsal, Rehearsal);

fn run(copies: &Receiver<Copied>) {
    let mut stages: HashMap<Arc<str>, Stage> = HashMap::new();
    while let Ok(copied) = copies.recv() {
        let name = Arc::clone(&copied.route.name);
        let known = stages.remove(&name).filter(|(shadow, ..)| Arc::ptr_eq(shadow, &copied.shadow));
        let compared = catch_unwind(AssertUnwindSafe(|| compare(&copied, known)));
        match compared {
            Ok(Ok(stage)) => drop(stages.insert(name, stage)),
            Ok(Err(_)) | Err(_) => copied.shadow.skipped(),
        }
    }
}

fn compare(copied: &Copied, known: Option<Stage>) -> Result<Stage, Problem> {
    let (limits, name) = (copied.limits, &copied.route.name);
    let mut stage = match known {
        Some(stage) => stage,
        None => (
            Arc::clone(&copied.shadow),
            Rehearsal::new(limits, Arc::clone(&copied.in_force), name)?,
            Rehearsal::new(limits, Arc::clone(copied.shadow.chains()), name)?,
        ),
    };
    // In headers, where an id that is made up is told from what it stands beside.
    let route = Route { content_mode: ContentMode::Binary, ..Route::clone(&copied.route) };
    let scene = Scene {
        route: &Arc::new(route),
        registry: &copied.registry,
        shape: copied.shape,
        framing: copied.framing,
        headers: &copied.headers,
        body: &copied.body,
        time: copied.time,
    };
    let (_, in_force, shadow) = &mut stage;
    let (now, then) = (in_force.run(&scene)?, shadow.run(&scene)?);
    for (now, then) in now.iter().zip(&then) {
        let differences = differences(now, then);
        let moved = differences.iter().any(|it| it.what == "key" || it.what == "topic");
        copied.shadow.compared(differences, moved);
    }
    Ok(stage)
}

/// How two fates of one event differ, but for what always does.
fn differences(now: &Fate, then: &Fate) -> Vec<Difference> {
    let (before, after) = (now.record(), then.record());
    let id = [before, after].into_iter().flatten().find_map(|record| record.header("ce_id"));
    let id = id.unwrap_or_default();
    let difference = |what: &str, now: Option<&str>, then: Option<&str>| {
        let shown = |text: &str| text.chars().take(SHOWN_MAX).collect();
        let (now, then) = (now.map(shown), then.map(shown));
        Difference { id: shown(id), what: what.to_owned(), now, then }
    };
    let mut all = Vec::new();
    if now.word() != then.word() {
        all.push(difference("outcome", Some(&now.word()), Some(&then.word())));
    }
    let (Some(before), Some(after)) = (before, after) else { return all };
    if before.topic != after.topic {
        all.push(difference("topic", Some(&before.topic), Some(&after.topic)));
    }
    if before.key != after.key {
        all.push(difference("key", before.key.as_deref(), after.key.as_deref()));
    }
    if before.value != after.value {
        let bytes = |record: &Rehearsed| format!("{} bytes", record.value.len());
        all.push(difference("value", Some(&bytes(before)), Some(&bytes(after))));
    }
    let names = [before, after].into_iter().flat_map(|record| record.headers.iter().map(|(name, _)| name));
    // An id that is made up is another each time.
    let made_up = |name: &str| name == "ce_id" || OF_NO_INTEREST.contains(&name);
    for name in names.filter(|name| !made_up(name)).collect::<BTreeSet<_>>() {
        let (before, after) = (before.header(name), after.header(name));
        if before != after {
            all.push(difference(&format!("header {name}"), before, after));
        }
    }
    all
}

impl Fate {
    /// The record that would be produced, if one would.
    pub fn record(&self) -> Option<&Rehearsed> {
        match self {
            Fate::Stored(record) | Fate::DeadLettered(record, _) => Some(record),
            Fate::Dropped { .. } | Fate::Refused(_) => None,
        }
    }

    /// How the event would end, in a word, with the code where there is one.
    pub fn word(&self) -> String {
        match self {
            Fate::Stored(_) => "stored".to_owned(),
            Fate::DeadLettered(_, reason) => format!("dead-lettered ({})", reason.code),
            Fate::Dropped { .. } => "dropped".to_owned(),
            Fate::Refused(problem) => problem.code.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, region: Option<&str>) -> Fate {
        let region = region.map(|region| ("x-region".to_owned(), region.as_bytes().to_vec()));
        let ours =
            [("ce_id", "1"), ("weir-plugins", key)].map(|(name, value)| (name.to_owned(), value.into()));
        Fate::Stored(Box::new(Rehearsed {
            topic: "t".into(),
            key: Some(key.to_owned()),
            headers: ours.into_iter().chain(region).collect(),
            value: b"{}".to_vec(),
        }))
    }

    #[test]
    fn only_what_differs_is_told() {
        let what = |now: &Fate, then: &Fate| {
            differences(now, then).into_iter().map(|it| (it.what, it.now, it.then)).collect::<Vec<_>>()
        };
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(what(&stored("a", None), &stored("a", None)), []);
        assert_eq!(
            what(&stored("a", None), &stored("b", Some("eu"))),
            [("key".to_owned(), own("a"), own("b")), ("header x-region".to_owned(), None, own("eu"))]
        );
        let dropped = Fate::Dropped { plugin: "p".into(), reason: None };
        assert_eq!(
            what(&stored("a", None), &dropped),
            [("outcome".to_owned(), own("stored"), own("dropped"))]
        );
    }
}
