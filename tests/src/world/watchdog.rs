//! Outlives the test process and clears up after it: Rust runs no drop for statics, nor on SIGKILL.
//! A shell at the other end of a pipe is told what is owned, and acts when the pipe closes.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

static PIPE: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let mut shell = Command::new("sh");
    shell.args(["-c", include_str!("watchdog.sh")]).process_group(0);
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Mutex::new(child.expect("sh is on every machine").stdin.expect("stdin is piped"))
});

/// The process group `group` (its leader's pid) dies with this process.
pub(super) fn own_group(group: u32) {
    tell("group", group);
}

/// The process group has ended; its number may soon be another's.
pub(super) fn forget_group(group: u32) {
    tell("forget", group);
}

/// The folder goes with this process.
pub(super) fn own_folder(folder: &Path) {
    tell("folder", folder.display());
}

fn tell(verb: &str, thing: impl std::fmt::Display) {
    let mut pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(pipe, "{verb} {thing}").expect("the watchdog ends after us");
}
