//! A plugin's file before it is compiled: a component, or a core module that becomes one here. Reads what
//! the file says of itself and runs nothing of it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// The custom section with the static description.
const DESCRIPTION_SECTION: &str = "weir:plugin";
/// What the host links. `types` has no functions but is imported beside those that use it.
const IMPORTS: [&str; 5] =
    ["weir:plugin/log", "weir:plugin/metrics", "weir:plugin/types", ENRICHERS_ALONE[0], ENRICHERS_ALONE[1]];
/// What makes a plugin answer differently for the same event.
const ENRICHERS_ALONE: [&str; 2] = ["weir:plugin/lookup", "weir:plugin/clock"];
/// What a plugin must have.
const EXPORTS: [&str; 2] = ["weir:plugin/lifecycle", "weir:plugin/processor"];
/// The line of versions that this host speaks.
const CONTRACT: &str = "0.1.";

/// A file that is a plugin of our contract.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub(super) component: Vec<u8>,
    /// SHA-256 of the file as it is on disk, in hex.
    pub digest: String,
    /// The interfaces that it imports, each with its version.
    pub imports: Vec<String>,
    /// What it says of itself, if it was built with an SDK that writes it down.
    pub description: Option<Description>,
}

/// What a plugin says of itself without being run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SDK name and version.
    pub sdk: String,
    /// The contract's version.
    pub contract: String,
    /// Its world, i.e. its tier of capabilities.
    pub world: String,
}

/// Why a file is no plugin of our contract.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Above `artifact_bytes_max`.
    #[error("it has {bytes} bytes; `artifact_bytes_max` is {max}")]
    TooLarge {
        /// The file's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Neither kind of WebAssembly.
    #[error("it is not WebAssembly")]
    NotWasm,
    /// A module that knows nothing of components.
    #[error("it is a core module without a `component-type` section: build it with the `weir-plugin` crate")]
    NoComponentType,
    /// A module that cannot become a component.
    #[error("it cannot be made a component: {0}")]
    Encode(String),
    /// Broken or unsupported bytes.
    #[error("it is not valid: {0}")]
    Invalid(#[from] wasmparser::BinaryReaderError),
    /// Something it needs is not there.
    #[error(
        "it wants {wanted}, which this host does not have: it has {} of contract {CONTRACT}x; \
         build it with weir-plugin {CONTRACT}x for a world within these (wit/README.md)", IMPORTS.join(", ")
    )]
    Import {
        /// The import as the plugin names it.
        wanted: String,
    },
    /// Something we need is not there.
    #[error("it does not export {missing} of contract {CONTRACT}x; it exports {found}")]
    Export {
        /// The interface.
        missing: &'static str,
        /// What there is.
        found: String,
    },
    /// The section is there but not ours.
    #[error("its section `{DESCRIPTION_SECTION}` cannot be read: {0}")]
    Description(#[from] serde_json::Error),
}

impl Artifact {
    /// Reads a file of either kind.
    pub fn open(bytes: &[u8], bytes_max: usize) -> Result<Self, ArtifactError> {
        if bytes.len() > bytes_max {
            return Err(ArtifactError::TooLarge { bytes: bytes.len(), max: bytes_max });
        }
        let component = if Parser::is_component(bytes) {
            bytes.to_vec()
        } else if Parser::is_core_wasm(bytes) {
            encode(bytes)?
        } else {
            return Err(ArtifactError::NotWasm);
        };
        let (imports, description) = read(&component)?;
        Ok(Artifact { component, digest: digest(bytes), imports, description })
    }
}

/// A component around a core module. The encoder takes any module, so the section is looked for first.
fn encode(module: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let mut typed = false;
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload? {
            typed |= section.name().starts_with("component-type");
        }
    }
    if !typed {
        return Err(ArtifactError::NoComponentType);
    }
    let failed = |error| ArtifactError::Encode(format!("{error:#}"));
    ComponentEncoder::default().validate(true).module(module).map_err(failed)?.encode().map_err(failed)
}

impl Artifact {
    /// An import that only enrichers may have.
    pub(super) fn impure_import(&self) -> Option<&str> {
        let is_impure = |name: &&String| ENRICHERS_ALONE.iter().any(|import| is_of(name, import));
        self.imports.iter().find(is_impure).map(String::as_str)
    }
}

/// Checks a component's outermost imports and exports, and finds the description wherever it is nested.
fn read(component: &[u8]) -> Result<(Vec<String>, Option<Description>), ArtifactError> {
    let (mut depth, mut known, mut exports, mut description) = (0, Vec::new(), Vec::new(), None);
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    known.push(checked_import(import?.name.name)?);
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name);
                }
            }
            Payload::CustomSection(section) if section.name() == DESCRIPTION_SECTION => {
                description = Some(serde_json::from_slice(section.data())?);
            }
            _ => {}
        }
    }
    for missing in EXPORTS {
        if !exports.iter().any(|export| is_of(export, missing)) {
            return Err(ArtifactError::Export { missing, found: list(&exports) });
        }
    }
    Ok((known, description))
}

fn checked_import(name: &str) -> Result<String, ArtifactError> {
    let known = IMPORTS.iter().any(|import| is_of(name, import));
    if known { Ok(name.to_owned()) } else { Err(ArtifactError::Import { wanted: shown(name) }) }
}

/// Whether `name` is `interface@0.1.x`.
fn is_of(name: &str, interface: &str) -> bool {
    let version = name.strip_prefix(interface).and_then(|rest| rest.strip_prefix('@'));
    version.is_some_and(|version| version.starts_with(CONTRACT))
}

/// A name out of an untrusted file, fit for a log line.
fn shown(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(100).collect()
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().take(8).map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

/// SHA-256 in hex, by which a file is known.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
