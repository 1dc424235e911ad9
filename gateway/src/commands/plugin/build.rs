//! `weir plugin build`: a folder becomes a `.wasm` that a gateway would load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Failure, Output, inspect, language};
use crate::plugin::{Artifact, Settings, read_bounded};

const AFTER_HELP: &str = "\
Example:
  weir plugin build my-keys        makes my-keys/my-keys.wasm";

/// Flags of `weir plugin build`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct BuildArgs {
    /// The plugin's folder.
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
    /// How to print what was built.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// `weir plugin build`.
pub(super) fn run(args: &BuildArgs) -> Result<ExitCode, Failure> {
    inspect::tell(&build(&args.folder)?, None, args.output)
}

/// The `.wasm` of a plugin; if it is given as a folder, that is built first.
pub(super) fn wasm(plugin: &Path) -> Result<PathBuf, Failure> {
    if plugin.is_dir() { build(plugin) } else { Ok(plugin.to_owned()) }
}

/// Builds a folder, and keeps the plugin in it under the plugin's own name.
fn build(folder: &Path) -> Result<PathBuf, Failure> {
    let built = (language::of(folder)?.build)(folder)?;
    let bytes = read(&built)?;
    let artifact = open(&built, &bytes)?;
    let name = artifact.description.map(|description| description.name);
    let name = name.or_else(|| Some(built.file_stem()?.to_str()?.to_owned()));
    let kept = folder.join(format!("{}.wasm", name.as_deref().unwrap_or("plugin")));
    let failed = |error| Failure::Other(format!("{} cannot be written: {error}", kept.display()));
    fs::write(&kept, bytes).map_err(failed)?;
    Ok(kept)
}

/// The bytes of a plugin, and one more than a gateway takes if there are too many.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    read_bounded(file, Settings::default().artifact_bytes_max)
        .map_err(|error| Failure::Config(format!("{} cannot be read: {error}", file.display())))
}

/// The gateway's own look at the file of a plugin.
pub(super) fn open(file: &Path, bytes: &[u8]) -> Result<Artifact, Failure> {
    let opened = Artifact::open(bytes, Settings::default().artifact_bytes_max);
    opened.map_err(|error| Failure::Config(format!("no gateway would load {}: {error}", file.display())))
}
