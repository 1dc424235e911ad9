//! The read model's store on a Valkey cluster: names, shipped scripts, and a client that no dead shard stalls.
//! It keeps what it is told to keep; which records those are, and what an answer proves, is `recent`'s business.

mod breaker;
mod calls;
mod cluster;
mod hash;
mod ledger;
mod names;
mod node;
mod reply;
mod scripts;
mod store;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use cluster::{Cluster, away};
pub use hash::{HashError, read_hash};
use ledger::Ledgers;
use node::{Command, send};
use store::Generations;

use crate::ports::StoreError;

/// How to reach Valkey, with its secrets resolved.
#[derive(Clone, Default)]
pub struct Settings {
    /// Where to begin, `host:port`; the others of a cluster are found from any of these. A single server
    /// without cluster mode will do, too.
    pub nodes: Vec<String>,
    /// The ACL user; `None` is `default`.
    pub username: Option<String>,
    /// Its password, asked for at each connection: it may change.
    pub password: Option<Password>,
    /// TLS to every node.
    pub tls: Option<Tls>,
}

/// How to learn a password, or why that is not to be had.
#[derive(Clone)]
pub struct Password(pub Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// TLS to every node. Paths of PEM files.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authorities to trust; `None` is the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate, if the servers ask for one, and its key.
    pub cert: Option<PathBuf>,
    /// The key of `cert`.
    pub key: Option<PathBuf>,
}

/// How long one command of a lookup may take, all redirections aside: whoever asks has another way.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(250);
/// The same of one that feeds the store, or of some in one go. What is sent again because the answer was late costs twice,
/// just when there is too much to do.
const FEED_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the settings cannot be used. An unreachable server is not such a reason.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No node is named, or one is not `host:port`.
    #[error("`{0}` is not the host:port of a Valkey node")]
    Node(String),
    /// A certificate or key cannot be read.
    #[error("{path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The store.
pub struct Valkey {
    cluster: Cluster,
    generations: Generations,
    ledgers: Mutex<Ledgers>,
}

impl Valkey {
    /// Makes the store; it connects in the background and for as long as it lives, on `runtime`.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn connect(settings: &Settings, runtime: Handle) -> Result<Valkey, SettingsError> {
        Ok(Valkey {
            cluster: Cluster::new(settings, runtime)?,
            generations: Generations::default(),
            ledgers: Mutex::default(),
        })
    }

    /// The same store over connections of another runtime.
    fn on(&self, runtime: Handle) -> Valkey {
        Valkey {
            cluster: self.cluster.on(runtime),
            generations: Generations::default(),
            ledgers: Mutex::default(),
        }
    }

    /// The primaries that would rather evict entries than refuse new ones, `host:port`, and by which policy: an
    /// evicted entry is a hole that no answer shows.
    ///
    /// # Errors
    /// One of them did not say.
    pub async fn evicting(&self) -> Result<Vec<(String, String)>, StoreError> {
        self.cluster.refresh(None).await?;
        let mut evicting = Vec::new();
        for (address, client) in self.cluster.primaries() {
            let info = Command { name: "INFO", args: vec!["memory".into()] };
            let reply = send(&client, 0, &[info], false).await.map_err(away)?.pop();
            let reply = reply.ok_or_else(|| StoreError::Unexpected("no reply".to_owned()))?.map_err(away)?;
            let text = reply.as_str().unwrap_or_default();
            let policy = text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
            let policy = policy.ok_or_else(|| StoreError::Unexpected("INFO without a policy".to_owned()))?;
            if policy != "noeviction" {
                evicting.push((address, policy.to_owned()));
            }
        }
        Ok(evicting)
    }

    /// Whether some node answers: for `weir validate` and readiness.
    ///
    /// # Errors
    /// None of the nodes answered.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.cluster.refresh(None).await
    }
}
