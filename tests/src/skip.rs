//! Skipping a test out loud: libtest counts an early return as passed, so the skip is written down as well.
//! `tests/run.sh` counts the lines of that file and corrects the closing line.

use std::fs::OpenOptions;
use std::io::Write;

/// Where skips are written down; set by `tests/run.sh`, unset when a test is run by hand.
const SKIPPED_FILE: &str = "WEIR_SKIPPED_FILE";

/// Says that the running test is skipped and why; use [`skip!`](crate::skip!), which also returns.
pub fn record(why: &str) {
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {why}", thread.name().unwrap_or("unnamed test"));
    eprintln!("{line}");
    let Some(path) = std::env::var_os(SKIPPED_FILE) else { return };
    let mut file =
        OpenOptions::new().create(true).append(true).open(path).expect("the skip list is writable");
    writeln!(file, "{line}").expect("the skip list is writable");
}

/// Ends the running test as skipped: `skip!("no Valkey 8.0 on this machine")`.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::skip::record(&format!($($why)*));
        return;
    }};
}
