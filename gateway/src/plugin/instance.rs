//! One warm instance of a plugin, owned by one worker. It calls and checks; what becomes of the events of a
//! call that failed is the pipeline's to say.

use std::ops::Range;
use std::sync::Arc;

use wasmtime::Trap;

use super::Source;
use super::guest::{Guest, GuestError, Output, Overrun};
use super::input::{Input, InputTooLarge};
use super::load::StartError;
use super::loaded::Plugin;
use super::output::{self, OutputError};
use super::verdict::Verdicts;

/// Why a call failed, and with it every event of the batch. Nothing of the call was published.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No instance could be started.
    #[error("no instance: {0}")]
    Start(#[from] StartError),
    /// The batch is too large for a call.
    #[error(transparent)]
    Input(#[from] InputTooLarge),
    /// A limit was met.
    #[error("stopped: {0}")]
    Overrun(#[from] Overrun),
    /// The guest ran out of its stack.
    #[error("stopped: it ran out of stack")]
    Stack,
    /// The guest broke down.
    #[error("trapped: {0}")]
    Trap(String),
    /// The guest said that it cannot.
    #[error("error {code}: {message}")]
    Refused {
        /// The contract's error code.
        code: u32,
        /// The guest's words.
        message: String,
    },
    /// The answer is not usable.
    #[error("bad answer: {0}")]
    Output(#[from] OutputError),
}

impl CallError {
    /// Whether other events of the call may do better without the one that brought it down.
    pub fn is_of_its_events(&self) -> bool {
        !matches!(self, CallError::Start(_))
    }

    /// Whether it ran for too long.
    pub fn is_deadline(&self) -> bool {
        matches!(self, CallError::Overrun(Overrun::Deadline(_)))
    }

    /// A word for metrics and dead letters.
    pub fn ending(&self) -> &'static str {
        match self {
            CallError::Start(_) => "start",
            CallError::Input(_) => "input",
            CallError::Overrun(Overrun::Deadline(_)) => "deadline",
            CallError::Overrun(Overrun::Memory | Overrun::Table) => "memory",
            CallError::Stack => "stack",
            CallError::Trap(_) => "trap",
            CallError::Refused { .. } => "error",
            CallError::Output(_) => "output",
        }
    }
}

/// A plugin on one worker.
pub struct Instance {
    plugin: Arc<Plugin>,
    /// Absent while poisoned: taken out before each call, put back after one that ended well.
    guest: Option<Guest>,
    input: Input,
    output: Output,
    /// What the last one that was retired held.
    retired_bytes: usize,
}

impl Instance {
    /// An instance that starts with its first call, or when it is warmed.
    pub fn new(plugin: Arc<Plugin>) -> Self {
        let output = Output { arena: Vec::new(), actions: Vec::new(), ops: Vec::new() };
        Instance { plugin, guest: None, input: Input::default(), output, retired_bytes: 0 }
    }

    /// Starts it before its first call.
    pub fn warm(&mut self) -> Result<(), CallError> {
        if self.guest.is_none() {
            self.guest = Some(self.plugin.start()?);
        }
        Ok(())
    }

    /// What it is an instance of.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The slices of so many events that fit a call each.
    pub fn batches(&self, events: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let max = self.plugin.batch_events_max();
        (0..events).step_by(max).map(move |start| start..events.min(start + max))
    }

    /// Lets the plugin judge the events of `source`, in one call. After an error the next call starts a
    /// new guest.
    pub fn call<S: Source + ?Sized>(&mut self, source: &S) -> Result<Verdicts<'_>, CallError> {
        self.plugin.counters().events.inc_by(source.len() as u64);
        let answered = self.run(source);
        let plugin = &self.plugin;
        let check =
            |()| Ok(output::check(&self.output, self.input.events(), &self.input.arena, plugin.rights())?);
        let checked = answered.and_then(check);
        match &checked {
            Ok(_) => {
                plugin.counters().ended_well.inc();
                self.guest.iter_mut().for_each(|guest| guest.said().publish());
                let worn_by = self.guest.as_ref().and_then(|guest| guest.worn_by(plugin.settings()));
                if let Some(reason) = worn_by {
                    plugin.counters().retired(reason);
                    self.retired_bytes = self.guest.take().map_or(0, |guest| guest.memory_bytes());
                }
            }
            Err(error) => {
                plugin.counters().ended(error.ending());
                if let CallError::Output(_) = error {
                    self.guest.take().iter_mut().for_each(|guest| guest.said().publish_errors());
                }
            }
        }
        checked
    }

    /// The bytes of the last call, those that went in and those that came out.
    pub fn bytes_crossed(&self) -> (usize, usize) {
        let Output { arena, actions, ops } = &self.output;
        (self.input.bytes(), arena.len() + actions.len() + 4 * ops.len())
    }

    /// The linear memory that it holds; if it has just been retired, what it held.
    pub fn memory_bytes(&self) -> usize {
        self.guest.as_ref().map_or(self.retired_bytes, Guest::memory_bytes)
    }

    fn run<S: Source + ?Sized>(&mut self, source: &S) -> Result<(), CallError> {
        self.input.fill(source, self.plugin.fields(), self.plugin.needs_payload())?;
        let mut guest = match self.guest.take() {
            Some(guest) => guest,
            None => self.plugin.start()?,
        };
        match guest.process(self.input.batch(), self.plugin.settings().deadline()) {
            Ok(Ok(output)) => {
                self.output = output;
                self.guest = Some(guest);
                Ok(())
            }
            Ok(Err(error)) => {
                guest.said().publish_errors();
                self.guest = Some(guest);
                Err(refused(error))
            }
            Err(error) => {
                guest.said().publish_errors();
                Err(broken(&error))
            }
        }
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

fn refused(error: GuestError) -> CallError {
    CallError::Refused { code: error.code, message: super::load::clipped(&error.message) }
}

/// What stopped a guest.
pub(super) fn broken(error: &wasmtime::Error) -> CallError {
    if let Some(overrun) = error.downcast_ref::<Overrun>() {
        return CallError::Overrun(*overrun);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => CallError::Stack,
        Some(trap) => CallError::Trap(trap.to_string()),
        None => CallError::Trap(super::load::clipped(&format!("{error:#}"))),
    }
}
