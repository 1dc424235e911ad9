//! The plugin chain within a chunk: who is called with which events, and what its verdicts do to them. An
//! event whose data was changed goes through the parser and the schema again, as if it had just come in.

use std::ops::Range;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bumpalo::Bump;

use super::chunk::{Bench, Job, Passing, Step, check_subject, match_schema, refused};
use super::{Draft, Dropped, Ending};
use crate::event::document::Pointer;
use crate::event::splice::{SpliceError, json_remove, json_set};
use crate::event::{Parser, Selected, Selector};
use crate::plugin::{Instance, Op, Plugin, Source, Verdict};
use crate::problem::{Code, Problem};
use crate::route::{AfterPlugins, Edits};
use crate::schema::ValidEvent;

/// What a changed event is checked with again.
struct Recheck<'w, 'a> {
    parser: &'w mut Parser,
    subject: &'w mut String,
    arena: &'a Bump,
    job: &'w Job<'a>,
}

/// Runs the route's plugins, in order, over the events that are still on their way.
pub(super) fn run<'a>(bench: &mut Bench, arena: &'a Bump, job: &Job<'a>, steps: &mut [Step<'a>]) {
    let Bench { parser, chains, subject, .. } = bench;
    let Some(chain) = chains.chain(&job.route.name) else { return };
    let mut recheck = Recheck { parser, subject, arena, job };
    for instance in chain.instances() {
        let live: Vec<usize> = (0..steps.len()).filter(|index| steps[*index].is_ok()).collect();
        for events in instance.batches(live.len()) {
            call(instance, &mut recheck, &live, events, steps);
        }
    }
}

/// One call, and its verdicts applied. A call that fails ends all of its events, and nothing of it was said.
fn call<'a>(
    instance: &mut Instance,
    recheck: &mut Recheck<'_, 'a>,
    live: &[usize],
    events: Range<usize>,
    steps: &mut [Step<'a>],
) {
    let plugin = Arc::clone(instance.plugin());
    let time = recheck.job.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let verdicts = instance.call(&Live { steps, live, time_ns }, events.clone());
    match verdicts {
        Ok(verdicts) => {
            for (index, (verdict, ops)) in live[events].iter().zip(verdicts.iter()) {
                apply(&plugin, recheck, verdict, ops, &mut steps[*index]);
            }
        }
        Err(error) => {
            tracing::warn!(plugin = %plugin.name, %error, events = events.len(), "a plugin call failed");
            for index in &live[events] {
                steps[*index] = Err(failed(&plugin, "failed on this event or on one that was sent with it"));
            }
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

fn apply<'a>(
    plugin: &Plugin,
    recheck: &mut Recheck<'_, 'a>,
    verdict: Verdict<'_>,
    ops: &[Op<'_>],
    step: &mut Step<'a>,
) {
    let Ok(passing) = step else { return };
    match verdict {
        Verdict::Pass => match edit(recheck.arena, passing, ops) {
            Ok(None) => {}
            Ok(Some(data)) => {
                // Whoever is left with the placeholder gets an answer, not a panic.
                let placeholder =
                    Err(refused(Problem::new(Code::Internal, "a changed event was not checked")));
                *step = match std::mem::replace(step, placeholder) {
                    Ok(passing) => recheck.changed(plugin, passing, data),
                    ended => ended,
                };
            }
            Err(error) => {
                tracing::warn!(plugin = %plugin.name, %error, "a plugin's edit cannot be made");
                *step = Err(failed(plugin, "asked for an edit that cannot be made"));
            }
        },
        Verdict::Drop(reason) => {
            let id = passing.event.event().attributes().id.into();
            let plugin = Arc::clone(&plugin.name);
            let reason = (!reason.is_empty()).then(|| reason.into());
            *step = Err(Draft::Ended(Ending::Dropped(Dropped { id, plugin, reason })));
        }
        Verdict::Refuse(reason) => {
            let detail = format!("{}: {reason}", plugin.name);
            *step = Err(refused(Problem::new(Code::PluginRefused, detail)));
        }
        Verdict::DeadLetter(reason) | Verdict::Failed(reason) => *step = Err(failed(plugin, reason)),
    }
}

/// Gathers what a plugin asked for; gives the new data if it changed it.
fn edit<'a>(
    arena: &'a Bump,
    passing: &mut Passing<'a>,
    ops: &[Op<'_>],
) -> Result<Option<Vec<u8>>, SpliceError> {
    let Passing { event, edits } = passing;
    let original = event.event().data();
    let mut changed: Option<Vec<u8>> = None;
    for op in ops {
        let current = || changed.as_deref().unwrap_or(original);
        let edited = match op {
            Op::JsonSet { pointer, value } => Some(json_set(current(), pointer, value)?),
            Op::JsonRemove { pointer } => remove_if_there(current(), pointer)?,
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
    fn changed(&mut self, plugin: &Plugin, passing: Passing<'a>, data: Vec<u8>) -> Step<'a> {
        let Passing { event, edits } = passing;
        let reparsed =
            self.parser.reparse(self.arena, event.into_event(), self.arena.alloc_slice_copy(&data));
        let event = reparsed.map_err(|problem| {
            tracing::warn!(plugin = %plugin.name, %problem, "a plugin made data that cannot be read");
            failed(plugin, "made data that is not valid")
        })?;
        let checked = match &self.job.route.after_plugins {
            AfterPlugins::Off => Ok(ValidEvent::without_schema(event)),
            AfterPlugins::Subject(subject) => check_subject(self.job.registry, event, Some(subject)),
            AfterPlugins::Same => match_schema(self.job, event, self.subject),
        };
        match checked {
            Ok(event) => Ok(Passing { event, edits }),
            Err(Draft::Violation(schema, _)) => {
                tracing::warn!(plugin = %plugin.name, schema = schema.header(), "a plugin broke an event's schema");
                Err(failed(plugin, "made data that does not match the schema"))
            }
            Err(ended) => Err(ended),
        }
    }
}

fn failed(plugin: &Plugin, what: &str) -> Draft {
    refused(Problem::new(Code::PluginFailed, format!("the plugin {} {what}", plugin.name)))
}
