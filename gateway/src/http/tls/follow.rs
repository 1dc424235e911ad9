//! What happens to TLS without being asked for: its files change, and new connections get what is new.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::files::Files;
use super::{Tls, section};
use crate::follow::{Seen, follow};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Tls {
    /// Follows the files until the last owner is gone. `digest` is what is in force.
    pub(super) fn follow(self: &Arc<Self>, digest: [u8; 32]) -> io::Result<()> {
        let mut seen = Seen::new(Some(Ok(digest)));
        follow(section(self.listener), LOOK, self, move |tls| {
            let files = Files::read(&tls.settings);
            let digest = files.as_ref().map(Files::digest).map_err(String::clone);
            if !seen.look(digest, |_| tls.put_in_force(files)) {
                tls.counters.read_failed(tls.listener);
            }
        })
    }

    /// Puts the files in force if they can be used.
    fn put_in_force(&self, files: Result<Files, String>) -> bool {
        let listener = section(self.listener);
        match files.and_then(|files| files.config(self.settings.client_auth)) {
            Ok(config) => {
                tracing::info!(listener, "new connections get another certificate");
                self.in_force.store(Arc::new(config));
                true
            }
            Err(why) => {
                tracing::error!(listener, %why, "the certificate stays as it was");
                false
            }
        }
    }
}
