//! How the Valkey cluster is reached.
//!
//! Only the words; the client is `valkey`'s.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::Secret;

/// Where Valkey is and how to log in.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValkeySettings {
    /// Some nodes of the cluster, as `host:port`; the others are learned from them.
    pub nodes: Vec<String>,
    /// The ACL user; absent: `default`.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// TLS; absent: plaintext.
    pub tls: Option<ValkeyTlsSettings>,
}

/// TLS towards Valkey.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValkeyTlsSettings {
    /// The authorities to trust, a PEM file; absent: the system's.
    pub ca: Option<PathBuf>,
}

impl ValkeySettings {
    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        if let Some(secret) = &mut self.password {
            secret.anchor(folder);
        }
        if let Some(path) = self.tls.as_mut().and_then(|tls| tls.ca.as_mut()) {
            *path = folder.join(&*path);
        }
    }
}
