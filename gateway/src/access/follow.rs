//! What happens to keys without being asked for: their file changes. A revoked key is refused a moment later.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Access;
use super::counters::Source;
use super::key::{self, Keys};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A file as it was at the last look.
struct Seen {
    text: Result<String, String>,
    usable: bool,
}

impl Access {
    /// Follows the file of keys until the last owner is gone. It is read each time: neither a clock that is too coarse
    /// nor a link that is turned to another file hides a change.
    pub(super) fn follow(self: &Arc<Self>) -> io::Result<()> {
        let Some(path) = self.keys_file.clone() else { return Ok(()) };
        let access = Arc::downgrade(self);
        let following = move || {
            let mut seen = None;
            while let Some(access) = access.upgrade() {
                seen = Some(access.look(&path, seen));
                drop(access);
                thread::sleep(LOOK);
            }
        };
        thread::Builder::new().name("access-keys".to_owned()).spawn(following).map(drop)
    }

    /// Puts the file's keys in force if it has changed and can be used.
    fn look(&self, path: &Path, seen: Option<Seen>) -> Seen {
        let text = key::read(path);
        let changed = seen.as_ref().is_none_or(|seen| seen.text != text);
        let mut usable = seen.as_ref().is_none_or(|seen| seen.usable);
        if changed {
            let read =
                text.as_ref().map_err(String::clone).and_then(|text| Keys::new(&self.configured, text));
            usable = read.is_ok();
            match read {
                Ok(keys) => {
                    tracing::info!(keys = keys.count(), "the file of keys was read");
                    self.counters.keys(keys.count());
                    self.keys.store(Arc::new(keys));
                }
                Err(why) => tracing::error!(file = %path.display(), %why, "the keys stay as they were"),
            }
        }
        if !usable {
            self.counters.read_failed(Source::Keys);
        }
        Seen { text, usable }
    }
}
