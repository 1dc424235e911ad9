//! Read-only tables that enrichers look into: files, loaded off the workers and swapped whole. A look never waits.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde_json::Value;

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A larger file is no table: it would be in memory twice while it is swapped.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A table of the config.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSettings {
    /// A JSON object: its keys, and a row for each. A string is a row of its text, anything else of its JSON.
    pub path: PathBuf,
}

/// Why a file is no table.
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
    #[error("table {} has {bytes} bytes; {FILE_BYTES_MAX} are allowed", path.display())]
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
}

/// The rows of a table at one moment, by key.
pub(super) type Rows = HashMap<Box<str>, Box<[u8]>>;

/// One table.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    rows: ArcSwap<Rows>,
    /// The file that the rows are of.
    stamp: Mutex<Stamp>,
}

/// What tells one file from the next in its place.
type Stamp = (SystemTime, u64);

/// All tables of the config, by name.
#[derive(Debug, Default)]
pub struct Tables(HashMap<String, Arc<Table>>);

impl Tables {
    /// Loads every table.
    pub fn load(settings: &BTreeMap<String, TableSettings>) -> Result<Self, TableError> {
        let tables =
            settings.iter().map(|(name, table)| Ok((name.clone(), Arc::new(Table::load(&table.path)?))));
        tables.collect::<Result<_, _>>().map(Tables)
    }

    /// Follows the files until the last owner is gone. A file that cannot be used leaves its table as it is.
    pub fn follow(self: &Arc<Self>) -> io::Result<()> {
        let tables = Arc::downgrade(self);
        let following = move || {
            while let Some(tables) = tables.upgrade() {
                tables.0.iter().for_each(|(name, table)| table.look(name));
                drop(tables);
                thread::sleep(LOOK);
            }
        };
        if self.0.is_empty() {
            return Ok(());
        }
        thread::Builder::new().name("plugin-tables".to_owned()).spawn(following).map(drop)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.0.get(name)
    }

    /// Their names, for who asked for another.
    pub(super) fn names(&self) -> String {
        let mut names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        names.sort_unstable();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

impl Table {
    fn load(path: &Path) -> Result<Self, TableError> {
        let (rows, stamp) = read(path)?;
        Ok(Table { path: path.to_owned(), rows: ArcSwap::from_pointee(rows), stamp: Mutex::new(stamp) })
    }

    /// The rows as they are now.
    pub(super) fn rows(&self) -> Arc<Rows> {
        self.rows.load_full()
    }

    fn look(&self, name: &str) {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match fs::metadata(&self.path).and_then(|file| stamp_of(&file)) {
            Ok(now) if now == *stamp => return,
            Ok(now) => now,
            Err(error) => {
                return tracing::warn!(table = name, %error, "a table's file is gone; its rows stay");
            }
        };
        match read(&self.path) {
            Ok((rows, _)) => {
                tracing::info!(table = name, rows = rows.len(), "a table was loaded anew");
                self.rows.store(Arc::new(rows));
            }
            Err(error) => tracing::warn!(table = name, %error, "a table stays as it was"),
        }
        // What could not be used is not tried again before it changes.
        *stamp = now;
    }
}

fn stamp_of(file: &fs::Metadata) -> io::Result<Stamp> {
    Ok((file.modified()?, file.len()))
}

fn read(path: &Path) -> Result<(Rows, Stamp), TableError> {
    let unreadable = |error| TableError::Read { path: path.to_owned(), error };
    let stamp = fs::metadata(path).and_then(|file| stamp_of(&file)).map_err(unreadable)?;
    if stamp.1 > FILE_BYTES_MAX {
        return Err(TableError::TooLarge { path: path.to_owned(), bytes: stamp.1 });
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    let object: serde_json::Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| TableError::Json { path: path.to_owned(), error })?;
    let row = |value| match value {
        Value::String(text) => text.into_bytes().into_boxed_slice(),
        other => other.to_string().into_bytes().into_boxed_slice(),
    };
    Ok((object.into_iter().map(|(key, value)| (key.into(), row(value))).collect(), stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_swapped_whole_and_stays_when_its_file_is_bad() {
        let path = std::env::temp_dir().join(format!("weir-table-{}.json", uuid::Uuid::now_v7()));
        let row = |table: &Table, key: &str| table.rows().get(key).map(|row| row.to_vec());
        fs::write(&path, r#"{"de": "Germany", "fr": {"eu": true}}"#).expect("is written");
        let table = Table::load(&path).expect("loads");
        assert_eq!(row(&table, "de").as_deref(), Some(b"Germany".as_slice()));
        assert_eq!(row(&table, "fr").as_deref(), Some(br#"{"eu":true}"#.as_slice()));
        fs::write(&path, r#"{"it": "Italy"}"#).expect("is written");
        table.look("t");
        assert_eq!((row(&table, "it").is_some(), row(&table, "de")), (true, None));
        for bad in ["[]", "{"] {
            fs::write(&path, bad).expect("is written");
            table.look("t");
            assert!(row(&table, "it").is_some(), "{bad}");
        }
        fs::remove_file(&path).expect("is removed");
        table.look("t");
        assert!(row(&table, "it").is_some());
        assert!(matches!(Table::load(&path), Err(TableError::Read { .. })));
    }
}
