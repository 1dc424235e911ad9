//! The languages that plugins are written in: a row each. Everything else is the same for all of them.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Failure, rust, scripted};

/// How plugins of one language begin and how they are built.
#[derive(Debug)]
pub struct Language {
    /// What `--lang` calls it.
    pub name: &'static str,
    /// The file that tells a folder of this language from others.
    pub manifest: &'static str,
    /// The files of a new plugin; `{{name}}` and `{{sdk}}` are filled in.
    pub template: &'static [(&'static str, &'static str)],
    /// Builds a folder; gives the `.wasm`, wherever the language's own tools leave it.
    pub build: fn(&Path) -> Result<PathBuf, Failure>,
}

const LANGUAGES: &[Language] = &[rust::RUST, scripted::JAVASCRIPT, scripted::PYTHON];

/// Reads a language's name off the command line, which lists them in its help.
pub(super) fn parser() -> impl TypedValueParser<Value = &'static Language> {
    let names = PossibleValuesParser::new(LANGUAGES.iter().map(|language| language.name));
    names.map(|name| LANGUAGES.iter().find(|language| language.name == name).expect("clap knows the names"))
}

/// The language of a plugin's folder.
pub(super) fn of(folder: &Path) -> Result<&'static Language, Failure> {
    if !folder.is_dir() {
        return Err(Failure::Config(format!("there is no folder {}", folder.display())));
    }
    let found = LANGUAGES.iter().find(|language| folder.join(language.manifest).is_file());
    found.ok_or_else(|| {
        let manifests: Vec<_> = LANGUAGES.iter().map(|language| language.manifest).collect();
        let missing = manifests.join(" or ");
        let folder = folder.display();
        Failure::Config(format!(
            "{folder} is no plugin's folder: it has no {missing}; `weir plugin new` makes one"
        ))
    })
}
