//! What a guest may ask of the host: lines in the log and numbers in the metrics. Both are kept until the
//! call has ended well, and bounded; of a call that failed only its errors are written.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use super::Settings;
use super::counters::{Own, PluginCounters};
use super::engine::Engine;
use super::guest::{State, log, metrics};

/// Numbers of one call; the rest are dropped.
const OBSERVATIONS_MAX: usize = 1024;

/// A linker with everything a plugin may import, and nothing else: no WASI.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.inner());
    log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    metrics::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// What a guest said and counted in one call.
pub(super) struct Said {
    plugin: Arc<str>,
    counters: Arc<PluginCounters>,
    settings: Arc<Settings>,
    own: Vec<Own>,
    lines: Vec<(log::Level, String)>,
    discarded_lines: u64,
    counts: Vec<(u32, u64)>,
    observations: Vec<(u32, f64)>,
}

impl Said {
    pub(super) fn new(plugin: Arc<str>, counters: Arc<PluginCounters>, settings: Arc<Settings>) -> Self {
        Said {
            plugin,
            counters,
            settings,
            own: Vec::new(),
            lines: Vec::new(),
            discarded_lines: 0,
            counts: Vec::new(),
            observations: Vec::new(),
        }
    }

    /// The call ended well: all of it counts.
    pub(super) fn publish(&mut self) {
        if self.lines.is_empty() && self.counts.is_empty() && self.observations.is_empty() {
            return;
        }
        for (id, delta) in self.counts.drain(..) {
            if let Some(Own::Counter(counter)) = self.own.get(id as usize) {
                counter.inc_by(delta);
            }
        }
        for (id, value) in self.observations.drain(..) {
            if let Some(Own::Histogram(histogram)) = self.own.get(id as usize) {
                histogram.observe(value);
            }
        }
        self.write_lines(|_| true);
    }

    /// The call failed: only the errors are of interest, a panic's message among them.
    pub(super) fn publish_errors(&mut self) {
        self.counts.clear();
        self.observations.clear();
        self.write_lines(|level| matches!(level, log::Level::Error));
    }

    fn write_lines(&mut self, wanted: impl Fn(log::Level) -> bool) {
        let plugin = &*self.plugin;
        for (level, line) in self.lines.drain(..).filter(|(level, _)| wanted(*level)) {
            match level {
                log::Level::Error => tracing::error!(plugin, "{line}"),
                log::Level::Warn => tracing::warn!(plugin, "{line}"),
                log::Level::Info => tracing::info!(plugin, "{line}"),
                log::Level::Debug => tracing::debug!(plugin, "{line}"),
                log::Level::Trace => tracing::trace!(plugin, "{line}"),
            }
        }
        self.counters.discarded_lines.inc_by(std::mem::take(&mut self.discarded_lines));
    }

    /// Resolves a name; one too many gets an id that counts nowhere.
    fn resolve(&mut self, is_counter: bool, name: &str) -> u32 {
        let id = self.own.len();
        let own =
            if id < self.settings.metric_names_max { self.counters.own(is_counter, name) } else { None };
        let Some(own) = own else {
            self.counters.discarded_names.inc();
            return u32::MAX;
        };
        self.own.push(own);
        u32::try_from(id).unwrap_or(u32::MAX)
    }
}

impl log::Host for State {
    fn enabled(&mut self, level: log::Level) -> bool {
        match level {
            log::Level::Error => tracing::enabled!(tracing::Level::ERROR),
            log::Level::Warn => tracing::enabled!(tracing::Level::WARN),
            log::Level::Info => tracing::enabled!(tracing::Level::INFO),
            log::Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
            log::Level::Trace => tracing::enabled!(tracing::Level::TRACE),
        }
    }

    fn write(&mut self, level: log::Level, mut message: String) {
        let said = &mut self.said;
        // A panic's message comes last and must find room among the lines before it.
        let room = said.settings.log_lines_max + usize::from(matches!(level, log::Level::Error));
        if said.lines.len() >= room {
            said.discarded_lines += 1;
            return;
        }
        message.truncate(message.floor_char_boundary(said.settings.log_line_bytes_max));
        said.lines.push((level, message));
    }
}

impl metrics::Host for State {
    fn counter(&mut self, name: String) -> u32 {
        self.said.resolve(true, &name)
    }

    fn histogram(&mut self, name: String) -> u32 {
        self.said.resolve(false, &name)
    }

    fn add(&mut self, id: u32, delta: u64) {
        let counts = &mut self.said.counts;
        if let Some((_, sum)) = counts.iter_mut().find(|(known, _)| *known == id) {
            *sum = sum.saturating_add(delta);
        } else if counts.len() < self.said.settings.metric_names_max {
            counts.push((id, delta));
        }
    }

    fn observe(&mut self, id: u32, value: f64) {
        if self.said.observations.len() < OBSERVATIONS_MAX {
            self.said.observations.push((id, value));
        }
    }
}
