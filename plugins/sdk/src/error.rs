//! Why something did not work, as the operator reads it.

use std::fmt;

/// Why a config cannot be used, a plugin is not well, or a value is not what was expected.
///
/// The message is for the operator's log. It holds no values of an event.
///
/// ```
/// let error = weir_plugin::Error::new("`ratio` is above 1");
/// assert_eq!(error.to_string(), "`ratio` is above 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) retryable: bool,
}

impl Error {
    const BAD_CONFIG: u32 = 1;
    #[cfg(target_arch = "wasm32")]
    const NOT_BOUND: u32 = 2;
    const OTHER: u32 = 4;

    /// An error with what to do about it.
    pub fn new(message: impl Into<String>) -> Self {
        Error { code: Self::OTHER, message: message.into(), retryable: false }
    }

    /// The operator's text.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn bad_config(message: impl Into<String>) -> Self {
        Error { code: Self::BAD_CONFIG, ..Error::new(message) }
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn not_bound() -> Self {
        Error { code: Self::NOT_BOUND, ..Error::new("called before init") }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
