//! What happens to keys without being asked for: their file changes. A revoked key is refused a moment later.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Access;
use super::counters::Source;
use super::key::{self, Keys};
use crate::follow::{Seen, follow};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Access {
    /// Follows the file of keys until the last owner is gone.
    pub(super) fn follow(self: &Arc<Self>) -> io::Result<()> {
        let Some(path) = self.keys_file.clone() else { return Ok(()) };
        let mut seen = Seen::new(None);
        follow("access-keys", LOOK, self, move |access| {
            if !seen.look(key::read(&path), |text| access.put_in_force(text, &path)) {
                access.counters.read_failed(Source::Keys);
            }
        })
    }

    /// Puts the file's keys in force if they can be used.
    fn put_in_force(&self, text: &Result<String, String>, path: &Path) -> bool {
        let read = text.as_ref().map_err(String::clone).and_then(|text| Keys::new(&self.configured, text));
        match read {
            Ok(keys) => {
                tracing::info!(keys = keys.count(), "the file of keys was read");
                self.counters.keys(keys.count());
                self.keys.store(Arc::new(keys));
                true
            }
            Err(why) => {
                tracing::error!(file = %path.display(), %why, "the keys stay as they were");
                false
            }
        }
    }
}
