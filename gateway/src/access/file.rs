//! A file of text that is read again and again, within bounds.

use std::fs;
use std::path::Path;

/// The text, or why there is none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let bytes = fs::metadata(path).map_err(|error| at(&error))?.len();
    if bytes > bytes_max {
        return Err(at(&format!("{bytes} bytes; {bytes_max} are allowed")));
    }
    fs::read_to_string(path).map_err(|error| at(&error))
}
