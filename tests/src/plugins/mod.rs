//! Long looks at plugins: what a call costs, what an event costs that breaks its call down, every rogue guest beside
//! good traffic, and reloads under load. Each prints a table and leaves its figures as JSON in `target/plugins`.

pub mod cost;
mod files;
pub mod reloads;
pub mod rogues;
pub mod storm;

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use crate::bench::Result;
use crate::world::inputs;

/// Writes `target/plugins/<name>.json`.
fn leave(name: &str, figures: &impl Serialize) -> Result<PathBuf> {
    let folder = inputs::target().join("plugins");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_vec_pretty(figures)?)?;
    Ok(path)
}
