//! The process's own log: JSON for machines, text for a person at a terminal.
//!
//! Not metrics, and never an event's data: log lines carry routes, codes and counts.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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
    let terminal = std::io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let builder = tracing_subscriber::fmt().with_env_filter(settings.filter()?).with_writer(std::io::stderr);
    match format {
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        Format::Text => builder.with_ansi(terminal).with_target(false).try_init(),
    }
    .map_err(|_| TelemetryError::Twice)
}
