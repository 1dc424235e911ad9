//! What a guest may ask of the host: lines in the log, numbers in the metrics, rows of tables, the time. Lines and
//! numbers are kept until the call has ended well, and bounded; of a call that failed only its errors are written.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::{HasSelf, Linker};

use super::Settings;
use super::counters::{Own, PluginCounters};
use super::engine::Engine;
use super::guest::{State, clock, log, lookup, metrics};

/// Numbers of one call; the rest are dropped.
const OBSERVATIONS_MAX: usize = 1024;
/// Tables that one instance may open.
const TABLES_MAX: usize = 16;
/// Keys of one look, and the bytes of one: a longer one has no row.
const KEYS_MAX: usize = 4096;
const KEY_BYTES_MAX: usize = 1 << 10;
/// Rows of one look, all together.
const HITS_BYTES_MAX: usize = 4 << 20;
/// The span of a key that has no row.
const ABSENT: [u32; 2] = [u32::MAX, 0];
/// The contract's code for any other failure; see `wit/README.md`.
const OTHER: u32 = 4;

/// The guests' monotonic clock begins here.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A linker with everything a plugin may import, and nothing else: no WASI.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.inner());
    log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    metrics::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    lookup::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    clock::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// What a guest said and counted in one call.
pub(super) struct Said {
    plugin: Arc<str>,
    counters: Arc<PluginCounters>,
    settings: Arc<Settings>,
    own: Vec<Own>,
    /// The ids that were handed out, so that a name asked for again costs no other.
    named: HashMap<(bool, String), u32>,
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
            named: HashMap::new(),
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
        let (plugin, lines_per_s_max) = (&*self.plugin, self.settings.log_lines_per_s_max);
        for (level, line) in self.lines.drain(..).filter(|(level, _)| wanted(*level)) {
            if !self.counters.may_write(lines_per_s_max) {
                self.discarded_lines += 1;
                continue;
            }
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
    fn resolve(&mut self, is_counter: bool, name: String) -> u32 {
        let key = (is_counter, name);
        if let Some(id) = self.named.get(&key) {
            return *id;
        }
        let (id, name) = (self.own.len(), &*key.1);
        let own =
            if id < self.settings.metric_names_max { self.counters.own(is_counter, name) } else { None };
        let Some(own) = own else {
            self.counters.discarded_names.inc();
            return u32::MAX;
        };
        self.own.push(own);
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        self.named.insert(key, id);
        id
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
        self.said.resolve(true, name)
    }

    fn histogram(&mut self, name: String) -> u32 {
        self.said.resolve(false, name)
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

impl lookup::Host for State {
    fn table(&mut self, name: String) -> Result<u32, lookup::Error> {
        let known = self.tables.get(&name).filter(|_| self.opened.len() < TABLES_MAX);
        let Some(table) = known else {
            let name = super::load::clipped(&name);
            return Err(no(format!("no table `{name}`: the config's `tables` has {}", self.tables.names())));
        };
        self.opened.push(Arc::clone(table));
        u32::try_from(self.opened.len() - 1).map_err(|_| no("too many tables"))
    }

    fn get_many(
        &mut self,
        table: u32,
        arena: Vec<u8>,
        spans: Vec<u32>,
    ) -> Result<lookup::Hits, lookup::Error> {
        let table = usize::try_from(table).ok().and_then(|id| self.opened.get(id));
        let rows = table.ok_or_else(|| no("a table that was not opened"))?.rows();
        let rows =
            rows.ok_or_else(|| lookup::Error { retryable: true, ..no("the table is not there yet") })?;
        let (keys, rest) = spans.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(no("the spans are not pairs"));
        }
        if keys.len() > KEYS_MAX {
            return Err(no(format!("more than {KEYS_MAX} keys")));
        }
        let mut hits = lookup::Hits { arena: Vec::new(), spans: Vec::with_capacity(spans.len()) };
        for [offset, length] in keys {
            let start = *offset as usize;
            let key = start.checked_add(*length as usize).and_then(|end| arena.get(start..end));
            let key = key.ok_or_else(|| no("a key outside its arena"))?;
            let short = Some(key).filter(|key| key.len() <= KEY_BYTES_MAX);
            let row = short.and_then(|key| str::from_utf8(key).ok()).and_then(|key| rows.get(key));
            hits.spans.extend(match row {
                None => ABSENT,
                Some(row) if hits.arena.len() + row.len() > HITS_BYTES_MAX => {
                    return Err(no(format!("more than {HITS_BYTES_MAX} bytes of rows")));
                }
                Some(row) => {
                    let span =
                        [hits.arena.len(), row.len()].map(|size| u32::try_from(size).unwrap_or(u32::MAX));
                    hits.arena.extend_from_slice(row);
                    span
                }
            });
        }
        Ok(hits)
    }
}

fn no(message: impl Into<String>) -> lookup::Error {
    lookup::Error { code: OTHER, message: message.into(), retryable: false }
}

impl clock::Host for State {
    fn now(&mut self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic(&mut self) -> u64 {
        u64::try_from(STARTED.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
