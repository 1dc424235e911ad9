//! Lines in the gateway's log. In native tests they go to standard error.

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For finding a fault in the plugin.
    Debug,
    /// Rare and of interest to the operator.
    Info,
    /// Somebody should look at it some day.
    Warn,
    /// Somebody should look at it now.
    Error,
}

/// Writes a line; the host keeps the first 1 KiB of it and so many lines per call.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    {
        use crate::bindings::weir::plugin::log;
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Writes a line that somebody should look at some day.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Writes a line of interest to the operator.
pub fn info(message: &str) {
    write(Level::Info, message);
}
