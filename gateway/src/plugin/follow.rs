//! What happens to versions without being asked for: a plugin's file changes, or a version keeps failing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::version::{Stage, VersionError};
use super::versions::Versions;
use crate::follow::follow;

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(2);

impl Versions {
    /// Follows the plugins' files until the last owner is gone: a changed one is put in force if it is well, and if it
    /// sets keys only loaded.
    pub fn follow(self: &Arc<Self>, path: impl Fn(&str) -> PathBuf + Send + 'static) -> io::Result<()> {
        let names = self.names();
        if names.is_empty() {
            return Ok(());
        }
        let stamp = |path: &Path| fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len()))).ok();
        let mut files: Vec<_> = names.into_iter().map(|name| (path(&name), name)).collect::<Vec<_>>();
        files.sort();
        // Each is looked at once more, lest one that was replaced meanwhile goes unnoticed.
        let mut seen = vec![None; files.len()];
        follow("plugin-files", LOOK, self, move |versions| {
            for ((path, name), seen) in files.iter().zip(&mut seen) {
                versions.heal(name);
                let now = stamp(path);
                if now.is_some() && now != *seen {
                    // What could not be used is not tried again before it changes.
                    *seen = now;
                    versions.changed(name, path);
                }
            }
        })
    }

    /// Goes back from a version in quarantine to the last one that was not, if there is one.
    fn heal(&self, plugin: &str) {
        let mut versions = self.list().remove(plugin).unwrap_or_default().into_iter();
        if !versions.any(|version| version.stage == Stage::Active && version.in_quarantine) {
            return;
        }
        match self.roll_back(plugin, false) {
            Ok(version) => {
                tracing::error!(plugin, digest = %version.digest, "back to the version before, from one in quarantine")
            }
            Err(error) => tracing::debug!(plugin, %error, "a version in quarantine stays in force"),
        }
    }

    fn changed(&self, plugin: &str, path: &Path) {
        let taken = self.read(path).and_then(|bytes| {
            let staged = self.stage(plugin, &bytes)?;
            // What was in force before and is no longer was taken out for a reason.
            if staged.stage == Stage::Staged {
                self.activate(plugin, &staged.digest, false)
            } else {
                Ok(staged)
            }
        });
        match taken {
            Ok(_) => {}
            Err(error @ VersionError::Keys(_)) => {
                tracing::warn!(plugin, %error, "its file changed: loaded, not in force")
            }
            Err(error) => {
                tracing::warn!(plugin, %error, "its file changed and cannot be used; it stays as it is")
            }
        }
    }
}
