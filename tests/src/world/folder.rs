//! A temporary folder that is removed on drop, and by the watchdog when the test process dies first.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::watchdog;

/// One service's own folder: its data, its configuration and its log.
#[derive(Debug)]
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("weir-test-{name}-")).tempdir().unwrap();
        watchdog::own_folder(folder.path());
        Self(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `text` into a file of this folder and gives its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}
