//! Secrets that must appear nowhere. A test tells which secrets it gives to a gateway; kept beside them are the logs of all
//! gateways and what clients were told. `tests/canaries.sh` searches these when all tests are over.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::folder::Folder;
use super::fresh_name;

/// Where a run keeps all of it; set by `tests/run.sh`. A test that is run by hand has a folder of its own.
const FOLDER: &str = "WEIR_CANARY_FOLDER";
/// A shorter text may be in a log by chance.
const SECRET_BYTES_MIN: usize = 16;

/// What a run keeps.
#[derive(Debug)]
pub struct Canaries {
    folder: PathBuf,
    /// Lines that were kept; of samples of a metric what stands before their number.
    told: Mutex<HashSet<String>>,
}

/// This run's.
pub fn canaries() -> &'static Canaries {
    static RUN: LazyLock<Canaries> = LazyLock::new(|| match std::env::var_os(FOLDER) {
        Some(folder) => Canaries::at(PathBuf::from(folder)),
        None => {
            // Removed by the watchdog: a static is never dropped.
            static OWN: LazyLock<Folder> = LazyLock::new(|| Folder::new("canaries"));
            Canaries::at(OWN.path())
        }
    });
    &RUN
}

impl Canaries {
    /// Those of a folder that is there.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Canaries { folder: folder.into(), told: Mutex::default() }
    }

    /// Where they are kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A secret that no other run has.
    pub fn secret(&self, what: &str) -> String {
        let secret = fresh_name(what);
        self.note(&secret);
        secret
    }

    /// A secret that was made elsewhere; of a text with several lines each is one.
    pub fn note(&self, secret: &str) {
        let lines =
            secret.lines().filter(|line| line.len() >= SECRET_BYTES_MIN && !line.starts_with("-----"));
        lines.for_each(|line| self.append("secrets", line));
    }

    /// Keeps a gateway's log.
    pub fn log(&self, log: &Path) {
        let name = format!("{}.log", fresh_name(&test().replace("::", ".")));
        fs::copy(log, self.folder.join(name)).expect("a gateway's log can be kept");
    }

    /// Keeps what a client was told: a problem, metrics, a dead letter.
    pub fn told(&self, text: &str) {
        for line in text.lines() {
            let sample = line.rsplit_once(' ').filter(|(_, value)| value.parse::<f64>().is_ok());
            let known = sample.map_or(line, |(series, _)| series).to_owned();
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.insert(known) {
                self.append(&format!("{}.told", std::process::id()), &format!("{}: {line}", test()));
            }
        }
    }

    fn append(&self, name: &str, line: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.folder.join(name));
        // In one write, for tests are threads.
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).expect("it can be kept");
    }
}

/// The running test's name, as libtest names its thread.
fn test() -> String {
    std::thread::current().name().unwrap_or("unnamed").to_owned()
}
