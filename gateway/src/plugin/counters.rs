//! The metrics of plugins, the host's and those plugins make themselves. Labels are plugins' names from the
//! config and names that a cap bounds; nothing of an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// The longest name of a plugin's own counter.
const NAME_BYTES_MAX: usize = 64;

/// Between two lines in the log about one plugin's failures.
const LINE_PAUSE: Duration = Duration::from_secs(1);

/// All plugins' metrics, registered once per process.
#[derive(Clone, Debug)]
pub struct Counters {
    /// By plugin: its versions and uses share them, and the cap on names.
    plugins: Arc<Mutex<HashMap<String, Arc<PluginCounters>>>>,
    events: IntCounterVec,
    calls: IntCounterVec,
    discarded: IntCounterVec,
    own_counters: IntCounterVec,
    own_histograms: HistogramVec,
    retired: IntCounterVec,
    table_rows: IntGaugeVec,
    table_failures: IntCounterVec,
}

impl Counters {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let own = HistogramOpts::new(
            "weir_plugin_own_histogram",
            "Values that plugins observe, by plugin and name.",
        );
        let own_histograms = HistogramVec::new(own, &["plugin", "name"])?;
        registry.register(Box::new(own_histograms.clone()))?;
        let rows = Opts::new("weir_table_rows", "Rows of a table that plugins look into.");
        let table_rows = IntGaugeVec::new(rows, &["table"])?;
        registry.register(Box::new(table_rows.clone()))?;
        Ok(Counters {
            plugins: Arc::default(),
            events: counter(
                "weir_plugin_events_total",
                "Events handed to a plugin, by plugin.",
                &["plugin"],
            )?,
            calls: counter(
                "weir_plugin_calls_total",
                "Calls of a plugin, by how they ended.",
                &["plugin", "ending"],
            )?,
            discarded: counter(
                "weir_plugin_discarded_total",
                "What a plugin said beyond its limits, by plugin and what it was.",
                &["plugin", "what"],
            )?,
            own_counters: counter(
                "weir_plugin_own_total",
                "What plugins count, by plugin and name.",
                &["plugin", "name"],
            )?,
            own_histograms,
            retired: counter(
                "weir_plugin_instances_retired_total",
                "Instances that another took the place of, by plugin and what they had too much of.",
                &["plugin", "reason"],
            )?,
            table_rows,
            table_failures: counter(
                "weir_table_read_failures_total",
                "Looks at a table's file or hash that failed; its rows stay as they were.",
                &["table"],
            )?,
        })
    }

    /// A table was looked at: it has so many rows, and they are as its origin's, or could not be read.
    pub(super) fn looked_at(&self, table: &str, rows: usize, well: bool) {
        self.table_rows.with_label_values(&[table]).set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.table_failures.with_label_values(&[table]).inc_by(u64::from(!well));
    }

    /// The handles of one plugin; `name` must come from the config.
    pub(super) fn plugin(&self, name: &str, names_max: usize) -> Arc<PluginCounters> {
        // A map of handles is whole whatever happened to a thread that held it.
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = plugins.get(name) {
            return Arc::clone(known);
        }
        let new = self.handles(name, names_max);
        plugins.insert(name.to_owned(), Arc::clone(&new));
        new
    }

    fn handles(&self, name: &str, names_max: usize) -> Arc<PluginCounters> {
        let ending = |ending: &str| self.calls.with_label_values(&[name, ending]);
        let discarded = |what: &str| self.discarded.with_label_values(&[name, what]);
        // From the first scrape on, so that a rate can be told when one comes.
        for reason in ["calls", "memory", "age"] {
            self.retired.with_label_values(&[name, reason]);
        }
        Arc::new(PluginCounters {
            plugin: name.to_owned(),
            calls: self.calls.clone(),
            own_counters: self.own_counters.clone(),
            own_histograms: self.own_histograms.clone(),
            retired: self.retired.clone(),
            names_max,
            names: Mutex::default(),
            last_line: Mutex::default(),
            lines: Mutex::new((Instant::now(), 0)),
            events: self.events.with_label_values(&[name]),
            ended_well: ending("ok"),
            discarded_lines: discarded("log-line"),
            discarded_names: discarded("metric-name"),
        })
    }
}

/// The handles of one plugin, shared by all its instances.
#[derive(Debug)]
pub(super) struct PluginCounters {
    plugin: String,
    calls: IntCounterVec,
    own_counters: IntCounterVec,
    own_histograms: HistogramVec,
    retired: IntCounterVec,
    names_max: usize,
    names: Mutex<HashMap<(bool, String), Own>>,
    /// When a line about it was last logged.
    last_line: Mutex<Option<Instant>>,
    /// The second that runs, and the lines of its own that it wrote in it.
    lines: Mutex<(Instant, usize)>,
    pub(super) events: IntCounter,
    pub(super) ended_well: IntCounter,
    pub(super) discarded_lines: IntCounter,
    pub(super) discarded_names: IntCounter,
}

/// A metric that a plugin made.
#[derive(Clone, Debug)]
pub(super) enum Own {
    Counter(IntCounter),
    Histogram(Histogram),
}

impl PluginCounters {
    /// Once a second.
    pub(super) fn worth_a_line(&self) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= LINE_PAUSE);
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// Whether a line of its own may still be written in this second, of so many.
    pub(super) fn may_write(&self, lines_per_s_max: usize) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.0.elapsed() >= LINE_PAUSE {
            *lines = (Instant::now(), 0);
        }
        lines.1 += 1;
        lines.1 <= lines_per_s_max
    }

    /// A call ended otherwise than well; `ending` is one of a fixed set.
    pub(super) fn ended(&self, ending: &str) {
        self.calls.with_label_values(&[&self.plugin, ending]).inc();
    }

    /// Another took an instance's place; `reason` is one of a fixed set.
    pub(super) fn retired(&self, reason: &str) {
        self.retired.with_label_values(&[&self.plugin, reason]).inc();
    }

    /// A metric by a name that the plugin chose; `None` if the name is bad or one too many.
    pub(super) fn own(&self, is_counter: bool, name: &str) -> Option<Own> {
        let labels = [&self.plugin, name];
        // A map of handles is whole whatever happened to a thread that held it.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (is_counter, name.chars().take(NAME_BYTES_MAX + 1).collect::<String>());
        if let Some(own) = names.get(&key) {
            return Some(own.clone());
        }
        if names.len() >= self.names_max || !is_metric_name(name) {
            return None;
        }
        let own = if is_counter {
            Own::Counter(self.own_counters.with_label_values(&labels))
        } else {
            Own::Histogram(self.own_histograms.with_label_values(&labels))
        };
        names.insert(key, own.clone());
        Some(own)
    }
}

fn is_metric_name(name: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_lowercase();
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(lower)
        && name.bytes().all(|byte| lower(byte) || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_second_and_no_more() {
        let counters = Counters::new(&Registry::new()).expect("registers").plugin("chatty", 32);
        let written = |lines| (0..lines).filter(|_| counters.may_write(3)).count();
        assert_eq!(written(10), 3);
        let second_ago = Instant::now().checked_sub(LINE_PAUSE).expect("the machine is up for a second");
        counters.lines.lock().expect("no panic").0 = second_ago;
        assert_eq!(written(10), 3);
    }
}
