//! A version of a plugin as an operator sees it, and why one is not in force.

use std::sync::Arc;
use std::time::SystemTime;

use super::load::LoadError;
use super::shadow::Report;
use crate::problem::Code;

/// Why another version is not in force.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// No route uses a plugin of this name.
    #[error("no route uses a plugin `{0}`")]
    UnknownPlugin(String),
    /// It was never loaded, or too long ago.
    #[error("there is no version {digest} of `{plugin}`; `GET /admin/v1/plugins` lists them")]
    UnknownVersion {
        /// The plugin.
        plugin: String,
        /// What was asked for.
        digest: String,
    },
    /// Nothing to go back to.
    #[error("`{0}` has no earlier version to go back to")]
    NoEarlier(String),
    /// It would move events to other partitions.
    #[error(
        "`{0}` sets partition keys: another version may move events to other partitions, and break the order of a key \
         where it does; let it run in the shadow for 1000 events and look at its report, or ask for it with \
         `allow_key_changes`"
    )]
    Keys(String),
    /// Its file cannot be read.
    #[error(transparent)]
    Read(#[from] LoadError),
    /// It cannot be loaded for one of its places.
    #[error("route {route}: {error}")]
    Load {
        /// Which route.
        route: Arc<str>,
        /// Why.
        error: LoadError,
    },
}

impl VersionError {
    /// What the operator is told.
    pub fn code(&self) -> Code {
        match self {
            VersionError::UnknownPlugin(_) => Code::UnknownPlugin,
            VersionError::UnknownVersion { .. } | VersionError::NoEarlier(_) => Code::UnknownVersion,
            VersionError::Keys(_) => Code::KeyChange,
            VersionError::Read(_) | VersionError::Load { .. } => Code::PluginUnusable,
        }
    }
}

/// Where a version is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Loaded and healthy; no event has met it.
    Staged,
    /// In force.
    Active,
    /// Was in force.
    Retired,
    /// Was in force, and failed on most of its events.
    Quarantined,
}

/// A version as an operator sees it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Description {
    /// SHA-256 of its file, in hex.
    pub digest: Arc<str>,
    /// Its own name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Where it is in its life.
    pub stage: Stage,
    /// When it came to that, in seconds since 1970.
    pub since_s: u64,
    /// Whether it sets partition keys.
    pub sets_keys: bool,
    /// Whether a route does not ask it now, for having failed on most of its events.
    pub in_quarantine: bool,
    /// What its run in the shadow found, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Report>,
}

impl Description {
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since_s = now_s();
    }
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
