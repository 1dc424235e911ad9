//! The plugin chain within a chunk: who is called with which events, and what its verdicts do to them. An
//! event whose data was changed goes through the parser and the schema again, as if it had just come in.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bumpalo::Bump;

use super::accepted::Draft;
use super::chunk::{
    Bench, DeadLetter, Job, Passing, Step, Stopped, TooSlow, check_subject, match_schema, refused,
};
use super::{Dropped, Ending};
use crate::event::document::Pointer;
use crate::event::splice::{SpliceError, json_remove, json_set};
use crate::event::{Parser, Selected, Selector};
use crate::metrics::Stage;
use crate::plugin::{CallError, Instance, Lap, Op, Plugin, Source, Verdict};
use crate::problem::{Code, Problem};
use crate::route::{AfterPlugins, Edits, OnError, Reason};
use crate::schema::ValidEvent;

/// So many failures of the one call that quarantine allows, and the rest of it is not asked.
const TRIAL_FAILURES_MAX: usize = 16;

/// What a changed event is checked with again, and how much time there is.
struct Recheck<'w, 'a> {
    parser: &'w mut Parser,
    subject: &'w mut String,
    arena: &'a Bump,
    job: &'w Job<'a>,
    lap: &'w Lap<'w>,
}

/// Runs the route's plugins, in order, over the events that are still on their way. On a worker not to the end, if one
/// of them fails and takes its time for it: more calls would come, one for each event.
pub(super) fn run<'a>(
    bench: &mut Bench,
    arena: &'a Bump,
    job: &Job<'a>,
    steps: &mut [Step<'a>],
) -> Result<(), TooSlow> {
    let Bench { parser, chains, subject, aside, .. } = bench;
    let Some(chain) = chains.chain(&job.route.name) else { return Ok(()) };
    let (instances, pace) = chain.parts();
    let lap = pace.begin(*aside);
    let mut recheck = Recheck { parser, subject, arena, job, lap: &lap };
    let ran = each(instances, &mut recheck, steps);
    let (time, put_aside) = lap.end();
    job.took(Stage::Plugin, time);
    if put_aside {
        slow(job);
    }
    ran
}

fn slow(job: &Job<'_>) {
    tracing::warn!(route = %job.route.name, "its plugins are slow: for now they run on a thread of their own");
}

fn each<'a>(
    instances: &mut [Instance],
    recheck: &mut Recheck<'_, 'a>,
    steps: &mut [Step<'a>],
) -> Result<(), TooSlow> {
    for instance in instances {
        let live: Vec<usize> = (0..steps.len()).filter(|index| steps[*index].is_ok()).collect();
        for events in instance.batches(live.len()) {
            if instance.plugin().admits() {
                call(instance, recheck, &live[events], false, steps)?;
            } else {
                set_aside(instance.plugin(), recheck.job.route.on_error, &live[events], steps);
            }
        }
    }
    Ok(())
}

/// One call, and its verdicts applied; whether it ended well. `again`: its event was in a call that did not.
fn call<'a>(
    instance: &mut Instance,
    recheck: &mut Recheck<'_, 'a>,
    live: &[usize],
    again: bool,
    steps: &mut [Step<'a>],
) -> Result<bool, TooSlow> {
    let plugin = Arc::clone(instance.plugin());
    let policy = recheck.job.route.on_error;
    let time = recheck.job.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let error = match instance.call(&Live { steps, live, time_ns }) {
        Ok(verdicts) => {
            let mut faults = 0;
            for (index, (verdict, ops)) in live.iter().zip(verdicts.iter()) {
                let Ok(passing) = &mut steps[*index] else { continue };
                if let Err(halt) = apply(recheck, verdict, ops, passing) {
                    faults += usize::from(halt.is_the_plugins_fault());
                    halt.stop(policy, &plugin, &mut steps[*index]);
                }
            }
            plugin.judged(live.len() - faults, faults, again);
            return Ok(true);
        }
        Err(error) => error,
    };
    if error.is_deadline() && recheck.lap.overran() {
        slow(recheck.job);
    }
    // Not within `one_by_one`, whose failures were counted already.
    if !again && steps.len() > 1 && recheck.lap.holds_up() {
        return Err(TooSlow);
    }
    if live.len() > 1 && error.is_of_its_events() {
        return one_by_one(instance, recheck, live, !again, steps).map(|()| false);
    }
    plugin.judged(0, live.len(), again);
    if plugin.worth_a_line() {
        tracing::warn!(plugin = %plugin.label, %error, events = live.len(), "a plugin call failed");
    }
    let text = match &error {
        CallError::Start(_) => "the plugin does not start",
        _ => "the plugin failed on this event",
    };
    for index in live {
        Halt::Fault(error.ending(), text).stop(policy, &plugin, &mut steps[*index]);
    }
    Ok(false)
}

/// Nothing of a call that failed counts: its events get a call each, so that the one that brought it down stops
/// alone. Behind that one the rest may be as well as any, and are tried in one call (`hopeful`), but once. Not for ever:
/// a plugin that comes into quarantine meanwhile, or fails as often in the one call that quarantine allows, is not
/// asked about the rest.
fn one_by_one<'a>(
    instance: &mut Instance,
    recheck: &mut Recheck<'_, 'a>,
    live: &[usize],
    hopeful: bool,
    steps: &mut [Step<'a>],
) -> Result<(), TooSlow> {
    let plugin = Arc::clone(instance.plugin());
    let on_trial = plugin.is_quarantined();
    let mut failed = 0;
    for (index, one) in live.chunks(1).enumerate() {
        let given_up = if on_trial { failed >= TRIAL_FAILURES_MAX } else { plugin.is_quarantined() };
        if given_up {
            set_aside(&plugin, recheck.job.route.on_error, one, steps);
        } else if !call(instance, recheck, one, true, steps)? {
            failed += 1;
            let rest = &live[index + 1..];
            if hopeful && !on_trial && !rest.is_empty() && !plugin.is_quarantined() {
                return call(instance, recheck, rest, true, steps).map(drop);
            }
        }
    }
    if on_trial && 2 * failed < live.len() {
        plugin.judged(live.len() - failed, 0, false);
    }
    Ok(())
}

/// Nobody asks a plugin that is in quarantine: its events meet the route's policy.
fn set_aside(plugin: &Plugin, policy: OnError, live: &[usize], steps: &mut [Step<'_>]) {
    for index in live {
        Halt::Fault("quarantine", "the plugin is in quarantine").stop(policy, plugin, &mut steps[*index]);
    }
}

/// Why an event goes no further, or not with what the plugin asked for. Texts leave the house.
enum Halt<'t> {
    /// The plugin drops it.
    Drop(&'t str),
    /// The plugin refuses it.
    Refuse(&'t str),
    /// The plugin wants it kept aside.
    DeadLetter(&'t str),
    /// The plugin failed on it: how, in a word and in a sentence. The route's policy decides.
    Fault(&'static str, &'t str),
}

impl Halt<'_> {
    /// Not what the plugin says of an event: that may be the event's fault.
    fn is_the_plugins_fault(&self) -> bool {
        matches!(self, Halt::Fault("edit" | "schema", _))
    }

    fn stop(self, policy: OnError, plugin: &Plugin, step: &mut Step<'_>) {
        // Whoever is left with the placeholder gets an answer, not a panic.
        let placeholder = refused(Problem::new(Code::Internal, "a plugin's verdict was not applied"));
        *step = match std::mem::replace(step, Err(Stopped::Ended(placeholder))) {
            Ok(passing) => self.met_by(policy, plugin, passing),
            stopped => stopped,
        };
    }

    fn met_by<'a>(self, policy: OnError, plugin: &Plugin, passing: Passing<'a>) -> Step<'a> {
        let dead_letter = |code, text: &str, passing| {
            let reason = Reason { plugin: Arc::clone(&plugin.label), code, text: text.into() };
            Err(Stopped::DeadLetter(Box::new(DeadLetter { passing, reason })))
        };
        let refuse = |code, detail| Err(Stopped::Ended(refused(Problem::new(code, detail))));
        match (self, policy) {
            (Halt::DeadLetter(reason), _) => dead_letter("verdict", reason, passing),
            (Halt::Fault(code, text), OnError::DeadLetter) => dead_letter(code, text, passing),
            (Halt::Refuse(reason), _) => refuse(Code::PluginRefused, format!("{}: {reason}", plugin.name)),
            (Halt::Fault(code, text), OnError::Refuse) => {
                refuse(Code::PluginFailed, format!("{}: {text} ({code})", plugin.name))
            }
            (Halt::Drop(reason) | Halt::Fault(_, reason), OnError::Drop) | (Halt::Drop(reason), _) => {
                let id = passing.event.event().attributes().id.into();
                let reason = (!reason.is_empty()).then(|| reason.into());
                let dropped = Dropped { id, plugin: Arc::clone(&plugin.name), reason };
                Err(Stopped::Ended(Draft::Ended(Ending::Dropped(dropped))))
            }
            (Halt::Fault(..), OnError::Pass) => Ok(passing),
        }
    }
}

/// The events of a chunk that are still on their way, as a plugin sees them.
struct Live<'s, 'a> {
    steps: &'s [Step<'a>],
    live: &'s [usize],
    time_ns: u64,
}

impl<'a> Live<'_, 'a> {
    fn event(&self, event: usize) -> Option<&Passing<'a>> {
        self.steps[self.live[event]].as_ref().ok()
    }
}

impl Source for Live<'_, '_> {
    fn len(&self) -> usize {
        self.live.len()
    }

    fn select(&self, event: usize, selector: &Selector) -> Option<Selected<'_>> {
        self.event(event)?.event.event().select(selector)
    }

    fn payload(&self, event: usize) -> &[u8] {
        self.event(event).map_or(&[], |passing| passing.event.event().data())
    }

    fn time_ns(&self, _event: usize) -> u64 {
        self.time_ns
    }
}

fn apply<'a, 't>(
    recheck: &mut Recheck<'_, 'a>,
    verdict: Verdict<'t>,
    ops: &[Op<'_>],
    passing: &mut Passing<'a>,
) -> Result<(), Halt<'t>> {
    match verdict {
        Verdict::Pass if ops.is_empty() => Ok(()),
        Verdict::Pass => {
            let mark = passing.edits.mark();
            let changed = edit(recheck.arena, passing, ops).and_then(|data| match data {
                Some(data) => recheck.changed(&passing.event, &data).map(Some),
                None => Ok(None),
            });
            match changed {
                Ok(event) => passing.event = event.unwrap_or(passing.event),
                Err(_) => passing.edits.back_to(mark),
            }
            changed.map(drop)
        }
        Verdict::Drop(reason) => Err(Halt::Drop(reason)),
        Verdict::Refuse(reason) => Err(Halt::Refuse(reason)),
        Verdict::DeadLetter(reason) => Err(Halt::DeadLetter(reason)),
        Verdict::Failed(reason) => Err(Halt::Fault("event", reason)),
    }
}

/// Gathers what a plugin asked for; gives the new data if it changed it.
fn edit<'a>(
    arena: &'a Bump,
    passing: &mut Passing<'a>,
    ops: &[Op<'_>],
) -> Result<Option<Vec<u8>>, Halt<'static>> {
    let Passing { event, edits } = passing;
    let original = event.event().data();
    let mut changed: Option<Vec<u8>> = None;
    for op in ops {
        let current = || changed.as_deref().unwrap_or(original);
        let edited = match op {
            Op::JsonSet { pointer, value } => Some(json_set(current(), pointer, value).map_err(bad_edit)?),
            Op::JsonRemove { pointer } => remove_if_there(current(), pointer).map_err(bad_edit)?,
            Op::ReplacePayload(data) => Some(data.to_vec()),
            other => {
                note(arena, edits, other);
                None
            }
        };
        changed = edited.or(changed);
    }
    Ok(changed)
}

fn bad_edit(_: SpliceError) -> Halt<'static> {
    Halt::Fault("edit", "the plugin asked for an edit that cannot be made")
}

/// Removing what is not there changes nothing: a plugin need not look first.
fn remove_if_there(bytes: &[u8], pointer: &Pointer) -> Result<Option<Vec<u8>>, SpliceError> {
    match json_remove(bytes, pointer) {
        Ok(edited) => Ok(Some(edited)),
        Err(SpliceError::Absent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ops that change the record, not the data. The plugin's answer is gone after its next call: what stays is
/// copied.
fn note<'a>(arena: &'a Bump, edits: &mut Edits<'a>, op: &Op<'_>) {
    let keep = |text: &str| &*arena.alloc_str(text);
    match op {
        Op::SetPartitionKey(key) => edits.partition_key = Some(keep(key)),
        Op::AddLookupKey { kind, key } => edits.lookup_keys.push((keep(kind), keep(key))),
        Op::SetHeader { name, value } => edits.headers.push((keep(name), Some(keep(value)))),
        Op::RemoveHeader { name } => edits.headers.push((keep(name), None)),
        Op::SetTopic(topic) => edits.topic = Some((*topic).clone()),
        Op::JsonSet { .. } | Op::JsonRemove { .. } | Op::ReplacePayload(_) => {}
    }
}

impl<'a> Recheck<'_, 'a> {
    /// An event with new data, valid again.
    fn changed(&mut self, original: &ValidEvent<'a>, data: &[u8]) -> Result<ValidEvent<'a>, Halt<'static>> {
        let data = self.arena.alloc_slice_copy(data);
        let event = self
            .parser
            .reparse(self.arena, *original.event(), data)
            .map_err(|_| Halt::Fault("edit", "the plugin made data that is not valid JSON"))?;
        let checked = match &self.job.route.after_plugins {
            AfterPlugins::Off => Ok(ValidEvent::without_schema(event)),
            AfterPlugins::Subject(subject) => check_subject(self.job.registry, event, Some(subject)),
            AfterPlugins::Same => match_schema(self.job, event, self.subject),
        };
        checked.map_err(|_| Halt::Fault("schema", "the plugin made data that does not match the schema"))
    }
}
