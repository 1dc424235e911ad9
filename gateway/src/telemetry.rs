//! The process's own log: JSON for machines, text for a person at a terminal.
//!
//! Not metrics, and never an event's data: log lines carry routes, codes and counts.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use schemars::JsonSchema;
use serde::Deserialize;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `json` or `text`; absent: text when standard error is a terminal, else JSON.
    pub format: Option<Format>,
    /// The least level that is written, e.g. `info`; or by module: `info,weir::kafka=debug`.
    pub level: String,
    /// Lines about requests that each worker writes in a second for those that went well, and as many again for the
    /// others; 0: none.
    pub access_lines_per_s_max: u32,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For reading.
    Text,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { format: None, level: "info".to_owned(), access_lines_per_s_max: 50 }
    }
}

/// The log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is no filter.
    #[error("the log level is not usable: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// There is a log already.
    #[error("the log was started twice")]
    Twice,
}

impl Settings {
    /// The filter that `level` asks for; orders to the gateway are written whatever it says.
    pub fn filter(&self) -> Result<EnvFilter, TelemetryError> {
        Ok(EnvFilter::builder().parse(&self.level)?.add_directive("audit=info".parse()?))
    }
}

/// Starts the log of this process, on standard error. Once.
pub fn start(settings: &Settings) -> Result<(), TelemetryError> {
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(settings.filter()?).with_writer(Log);
    match format {
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        Format::Text => builder.with_ansi(terminal).with_target(false).try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}

/// Lines that were left away since the start, because nobody read standard error.
pub fn lines_dropped() -> u64 {
    LINES_DROPPED.load(Ordering::Relaxed)
}

static LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Standard error as a log. A reader that stalls must not hold up whoever has something to say, so a line that cannot be
/// written at once is left away; but an order to the gateway waits until it is written.
#[derive(Clone, Copy, Debug)]
struct Log;

/// The way of one line to standard error.
#[derive(Clone, Copy, Debug)]
struct Line {
    waits: bool,
}

impl MakeWriter<'_> for Log {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { waits: false }
    }

    fn make_writer_for(&self, of: &Metadata<'_>) -> Line {
        Line { waits: of.target() == "audit" }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        loop {
            // Locked while it is asked and written to: nobody else takes the room.
            let mut stderr = io::stderr().lock();
            if has_room(&stderr, Some(&Timespec::default())) {
                return stderr.write_all(line).map(|()| line.len());
            }
            drop(stderr);
            if !self.waits {
                LINES_DROPPED.fetch_add(1, Ordering::Relaxed);
                return Ok(line.len());
            }
            // Not locked: who does not wait must not wait for who does.
            has_room(io::stderr(), None);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a line can be written, now or within the limit. A pipe is writable while a page of it is free (pipe(7)), and
/// hardly a line is longer; a file always is.
fn has_room(stderr: impl AsFd, limit: Option<&Timespec>) -> bool {
    let mut asked = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut asked, limit).map_or(true, |ready| ready > 0)
}
