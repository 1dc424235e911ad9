//! What happens to TLS without being asked for: its files change, and new connections get what is new.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::files::Files;
use super::{Tls, section};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The files as they were at the last look.
struct Seen {
    digest: Result<[u8; 32], String>,
    usable: bool,
}

impl Tls {
    /// Follows the files until the last owner is gone. They are read each time: neither a clock that is too coarse nor a
    /// link that is turned to another file hides a change.
    pub(super) fn follow(self: &Arc<Self>, digest: [u8; 32]) -> io::Result<()> {
        let tls = Arc::downgrade(self);
        let following = move || {
            let mut seen = Seen { digest: Ok(digest), usable: true };
            while let Some(tls) = tls.upgrade() {
                seen = tls.look(seen);
                drop(tls);
                thread::sleep(LOOK);
            }
        };
        thread::Builder::new().name(section(self.listener).to_owned()).spawn(following).map(drop)
    }

    /// Puts the files in force if they have changed and can be used.
    fn look(&self, seen: Seen) -> Seen {
        let files = Files::read(&self.settings);
        let digest = files.as_ref().map(Files::digest).map_err(String::clone);
        let mut usable = seen.usable;
        if digest != seen.digest {
            let config = files.and_then(|files| files.config(self.settings.client_auth));
            usable = config.is_ok();
            let listener = section(self.listener);
            match config {
                Ok(config) => {
                    tracing::info!(listener, "new connections get another certificate");
                    self.in_force.store(Arc::new(config));
                }
                Err(why) => tracing::error!(listener, %why, "the certificate stays as it was"),
            }
        }
        if !usable {
            self.counters.read_failed(self.listener);
        }
        Seen { digest, usable }
    }
}
