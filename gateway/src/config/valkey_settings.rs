//! How the Valkey cluster is reached.
//!
//! Only the words; the client is `valkey`'s.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::{Secret, SecretError};
use crate::valkey;

/// Where Valkey is and how to log in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ValkeyTlsSettings {
    /// The authorities to trust, a PEM file; absent: the system's.
    pub ca: Option<PathBuf>,
}

impl ValkeySettings {
    /// The client's settings, with the way to the password in them. Reads the secret once, to see that it is there.
    pub fn reveal(&self) -> Result<valkey::Settings, SecretError> {
        self.password.as_ref().map(Secret::reveal).transpose()?;
        let password = |secret: Secret| {
            let read = move || {
                let password = secret.reveal().map_err(|error| error.to_string())?;
                Ok(password.as_str().to_owned())
            };
            valkey::Password(Arc::new(read))
        };
        Ok(valkey::Settings {
            nodes: self.nodes.clone(),
            username: self.username.clone(),
            password: self.password.clone().map(password),
            tls: self.tls.as_ref().map(|tls| valkey::Tls { ca: tls.ca.clone(), cert: None, key: None }),
        })
    }

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
