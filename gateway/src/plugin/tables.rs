//! Read-only tables that enrichers look into: files and Valkey hashes, loaded off the workers and swapped whole. A
//! look of a plugin never waits.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use serde_json::Value;

use super::counters::Counters;
use crate::follow::follow;

/// How often a file is looked at, and a hash that could not be read.
const LOOK: Duration = Duration::from_secs(2);
/// How often a hash is read: whether it has changed cannot be asked.
const READ: Duration = Duration::from_secs(10);
/// A larger file or hash is no table: it would be in memory twice while it is swapped.
pub const TABLE_BYTES_MAX: u64 = 64 << 20;

/// A table of the config: a file, or a hash in Valkey.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TableSettings {
    /// A JSON object: its keys, and a row for each. A string is a row of its text, anything else of its JSON.
    pub path: Option<PathBuf>,
    /// A hash in the Valkey of the config's `valkey`: its fields, and their values as they are.
    pub valkey_hash: Option<String>,
}

/// The rows of a table at one moment, by key.
pub type Rows = HashMap<Box<str>, Box<[u8]>>;

/// Reads a Valkey hash of at most so many bytes, or says why not. It blocks, and is not called on a worker.
pub type ReadHash = Arc<dyn Fn(&str, u64) -> Result<Rows, String> + Send + Sync>;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be read.
    #[error("table {} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is too large.
    #[error("table {} has {bytes} bytes; {TABLE_BYTES_MAX} are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is not what a table is.
    #[error("table {} is not a JSON object: {error}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where.
        error: serde_json::Error,
    },
    /// The hash cannot be read, or there is none.
    #[error("the Valkey hash `{hash}` cannot be read: {why}")]
    Hash {
        /// Its key.
        hash: String,
        /// Why.
        why: String,
    },
}

/// One table. A file's is there from the start; a hash's may come later, for Valkey may be away.
#[derive(Debug)]
pub(super) struct Table {
    origin: Origin,
    rows: ArcSwapOption<Rows>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Hash(String),
}

/// What the last look met.
#[derive(Debug, Default)]
struct Seen {
    file: Option<Stamp>,
    hash: Option<Instant>,
}

/// What tells one file from the next in its place.
type Stamp = (SystemTime, u64);

/// All tables of the config, by name.
#[derive(Default)]
pub struct Tables {
    tables: HashMap<String, Arc<Table>>,
    read_hash: Option<ReadHash>,
}

impl Tables {
    /// Loads every table. Without `read_hash`, those that are hashes stay absent; with it, those that cannot be read
    /// now are tried again while the tables are followed.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn load(
        settings: &BTreeMap<String, TableSettings>,
        read_hash: Option<ReadHash>,
    ) -> Result<Self, TableError> {
        let table = |(name, table): (&String, &TableSettings)| {
            Ok((name.clone(), Arc::new(Table::load(name, table, read_hash.as_ref())?)))
        };
        let tables = settings.iter().map(table).collect::<Result<_, TableError>>()?;
        Ok(Tables { tables, read_hash })
    }

    /// Follows the tables until the last owner is gone. What cannot be used leaves its table as it is.
    pub fn follow(self: &Arc<Self>, counters: Counters) -> io::Result<()> {
        if self.tables.is_empty() {
            return Ok(());
        }
        follow("plugin-tables", LOOK, self, move |tables| {
            for (name, table) in &tables.tables {
                let well = table.look(name, tables.read_hash.as_ref());
                counters.looked_at(name, table.rows().map_or(0, |rows| rows.len()), well);
            }
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }

    /// Those that were never read, by name.
    pub fn absent(&self) -> Vec<&str> {
        let absent = self.tables.iter().filter(|(_, table)| table.rows().is_none());
        let mut names: Vec<&str> = absent.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Their names, for who asked for another.
    pub(super) fn names(&self) -> String {
        let mut names: Vec<&str> = self.tables.keys().map(String::as_str).collect();
        names.sort_unstable();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tables({})", self.names())
    }
}

impl Table {
    fn load(name: &str, settings: &TableSettings, read_hash: Option<&ReadHash>) -> Result<Self, TableError> {
        // A config with both, or with neither, was refused.
        let origin = match (&settings.path, &settings.valkey_hash) {
            (Some(path), _) => Origin::File(path.clone()),
            (None, hash) => Origin::Hash(hash.clone().unwrap_or_default()),
        };
        let table = Table { origin, rows: ArcSwapOption::empty(), seen: Mutex::default() };
        match (&table.origin, table.refresh(read_hash)) {
            (Origin::File(_), Err(error)) => return Err(error),
            (Origin::Hash(_), Err(error)) => {
                tracing::warn!(table = name, %error, "a table is not there yet");
            }
            (_, Ok(_)) => {}
        }
        Ok(table)
    }

    /// The rows as they are now, once there are some.
    pub(super) fn rows(&self) -> Option<Arc<Rows>> {
        self.rows.load_full()
    }

    /// Whether the table is as its origin is.
    fn look(&self, name: &str, read_hash: Option<&ReadHash>) -> bool {
        match self.refresh(read_hash) {
            Ok(true) => {
                let rows = self.rows().map_or(0, |rows| rows.len());
                tracing::info!(table = name, rows, "a table was loaded anew");
                true
            }
            Ok(false) => true,
            Err(error) => {
                tracing::warn!(table = name, %error, "a table stays as it was");
                false
            }
        }
    }

    /// Takes the rows over if they may be others than before; whether they are.
    fn refresh(&self, read_hash: Option<&ReadHash>) -> Result<bool, TableError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = match &self.origin {
            Origin::File(path) => {
                let stamp = stamp(path)?;
                // What could not be used is not tried again before it changes.
                if seen.file.replace(stamp) == Some(stamp) {
                    return Ok(false);
                }
                read_file(path, stamp.1)?
            }
            Origin::Hash(hash) => {
                if self.rows.load().is_some() && seen.hash.is_some_and(|read| read.elapsed() < READ) {
                    return Ok(false);
                }
                let unread = |why| TableError::Hash { hash: hash.clone(), why };
                let read_hash =
                    read_hash.ok_or_else(|| unread("there is no Valkey to read it from".to_owned()))?;
                seen.hash = Some(Instant::now());
                read_hash(hash, TABLE_BYTES_MAX).map_err(unread)?
            }
        };
        if self.rows.load().as_deref() == Some(&rows) {
            return Ok(false);
        }
        self.rows.store(Some(Arc::new(rows)));
        Ok(true)
    }
}

fn stamp(path: &Path) -> Result<Stamp, TableError> {
    let stamp = fs::metadata(path).and_then(|file| Ok((file.modified()?, file.len())));
    stamp.map_err(|error| TableError::Read { path: path.to_owned(), error })
}

fn read_file(path: &Path, bytes: u64) -> Result<Rows, TableError> {
    if bytes > TABLE_BYTES_MAX {
        return Err(TableError::TooLarge { path: path.to_owned(), bytes });
    }
    let bytes = fs::read(path).map_err(|error| TableError::Read { path: path.to_owned(), error })?;
    let object: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| TableError::Json { path: path.to_owned(), error })?;
    let row = |value| match value {
        Value::String(text) => text.into_bytes().into_boxed_slice(),
        other => other.to_string().into_bytes().into_boxed_slice(),
    };
    Ok(object.into_iter().map(|(key, value)| (key.into(), row(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: &Table, key: &str) -> Option<Vec<u8>> {
        table.rows().and_then(|rows| rows.get(key).map(|row| row.to_vec()))
    }

    #[test]
    fn a_table_is_swapped_whole_and_stays_when_its_file_is_bad() {
        let path = std::env::temp_dir().join(format!("weir-table-{}.json", uuid::Uuid::now_v7()));
        let settings = TableSettings { path: Some(path.clone()), valkey_hash: None };
        let load = || Table::load("t", &settings, None);
        fs::write(&path, r#"{"de": "Germany", "fr": {"eu": true}}"#).expect("is written");
        let table = load().expect("loads");
        assert_eq!(row(&table, "de").as_deref(), Some(b"Germany".as_slice()));
        assert_eq!(row(&table, "fr").as_deref(), Some(br#"{"eu":true}"#.as_slice()));
        fs::write(&path, r#"{"it": "Italy"}"#).expect("is written");
        assert!(table.look("t", None));
        assert_eq!((row(&table, "it").is_some(), row(&table, "de")), (true, None));
        for bad in ["[]", "{"] {
            fs::write(&path, bad).expect("is written");
            assert!(!table.look("t", None), "{bad}");
            assert!(row(&table, "it").is_some(), "{bad}");
        }
        fs::remove_file(&path).expect("is removed");
        assert!(!table.look("t", None));
        assert!(row(&table, "it").is_some());
        assert!(matches!(load(), Err(TableError::Read { .. })));
    }

    #[test]
    fn a_hash_comes_when_it_can_be_read_and_stays_when_it_cannot() {
        let answer = Arc::new(Mutex::new(Err("away".to_owned())));
        let told = Arc::clone(&answer);
        let read: ReadHash = Arc::new(move |hash, _| {
            assert_eq!(hash, "regions");
            told.lock().expect("no panic").clone()
        });
        let settings = TableSettings { path: None, valkey_hash: Some("regions".to_owned()) };
        let tables = Tables::load(&BTreeMap::from([("t".to_owned(), settings)]), Some(Arc::clone(&read)));
        let tables = tables.expect("an absent hash is no error");
        let table = tables.get("t").expect("has its name");
        assert_eq!((table.rows(), tables.absent()), (None, vec!["t"]));
        let rows = |row: &[u8]| Ok(Rows::from([("de".into(), row.into())]));
        *answer.lock().expect("no panic") = rows(b"\xff\x00");
        assert!(table.look("t", Some(&read)));
        assert_eq!((row(table, "de").as_deref(), tables.absent().len()), (Some(b"\xff\x00".as_slice()), 0));
        *answer.lock().expect("no panic") = rows(b"new");
        assert!(table.look("t", Some(&read)), "it is not read at every look");
        assert_eq!(row(table, "de").as_deref(), Some(b"\xff\x00".as_slice()));
        let read_long_ago = || table.seen.lock().expect("no panic").hash = Instant::now().checked_sub(READ);
        read_long_ago();
        assert!(table.look("t", Some(&read)));
        assert_eq!(row(table, "de").as_deref(), Some(b"new".as_slice()));
        *answer.lock().expect("no panic") = Err("away".to_owned());
        read_long_ago();
        assert!(!table.look("t", Some(&read)));
        assert_eq!(row(table, "de").as_deref(), Some(b"new".as_slice()));
    }
}
