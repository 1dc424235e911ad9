//! What is looked at again and again while the gateway runs: the files of keys, certificates, plugins and tables.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Has `owner` looked at every so often, on a thread of that name, until the last other owner is gone.
///
/// # Errors
/// The machine refuses a thread.
pub fn follow<T: Send + Sync + 'static>(
    name: &str,
    every: Duration,
    owner: &Arc<T>,
    mut look: impl FnMut(&Arc<T>) + Send + 'static,
) -> io::Result<()> {
    let owner = Arc::downgrade(owner);
    let following = move || {
        while let Some(owner) = owner.upgrade() {
            look(&owner);
            drop(owner);
            thread::sleep(every);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(following).map(drop)
}

/// What something was at the last look, and whether that could be used. It is read each time: neither a clock that is too
/// coarse nor a link that is turned to another file hides a change.
#[derive(Debug)]
pub struct Seen<T> {
    last: Option<T>,
    usable: bool,
}

impl<T: PartialEq> Seen<T> {
    /// With what was there at the start, if that is in force.
    pub fn new(last: Option<T>) -> Self {
        Seen { last, usable: true }
    }

    /// Has what is there now put in force if it is another than before; whether what is there can be used.
    pub fn look(&mut self, now: T, put_in_force: impl FnOnce(&T) -> bool) -> bool {
        if self.last.as_ref() != Some(&now) {
            self.usable = put_in_force(&now);
            self.last = Some(now);
        }
        self.usable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_looked_at_once_and_stays_unusable() {
        let mut seen = Seen::new(Some(1));
        assert!(seen.look(1, |_| panic!("it is in force")));
        assert!(!seen.look(2, |_| false));
        assert!(!seen.look(2, |_| panic!("it was tried")));
        assert!(seen.look(1, |now| *now == 1), "back to what it was");
    }
}
