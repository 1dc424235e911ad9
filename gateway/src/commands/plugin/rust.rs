//! Plugins in Rust: their template, and cargo.

use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Failure;
use super::language::Language;

/// What cargo builds a plugin for.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

macro_rules! template {
    ($($made:literal from $kept:literal),* $(,)?) => {
        &[$(($made, include_str!(concat!("../../../../plugins/templates/rust/", $kept)))),*]
    };
}

pub(super) const RUST: Language = Language {
    name: "rust",
    manifest: "Cargo.toml",
    template: template![
        "Cargo.toml" from "Cargo.toml.in",
        ".gitignore" from "gitignore",
        "README.md" from "README.md",
        "src/lib.rs" from "src/lib.rs",
        "tests/a-user.in.json" from "tests/a-user.in.json",
        "tests/a-user.out.json" from "tests/a-user.out.json",
        "tests/a-device.in.json" from "tests/a-device.in.json",
        "tests/a-device.out.json" from "tests/a-device.out.json",
    ],
    build,
};

fn build(folder: &Path) -> Result<PathBuf, Failure> {
    if !has_target(folder).map_err(Failure::Other)? {
        let advice = format!("run `rustup target add {TARGET}`");
        return Err(Failure::Other(format!("this Rust cannot build WebAssembly: {advice}")));
    }
    let manifest = folder.join("Cargo.toml").canonicalize().map_err(|error| cargo_failed(&error))?;
    let mut cargo = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| cargo_failed(&error))?;
    let messages = cargo.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines);
    let built = messages.map_while(Result::ok).filter_map(|message| wasm(&message, &manifest)).last();
    if !cargo.wait().map_err(|error| cargo_failed(&error))?.success() {
        return Err(Failure::Other("cargo could not build it; its reason is above".to_owned()));
    }
    built.ok_or_else(|| {
        let advice = "it needs `[lib] crate-type = [\"cdylib\", \"rlib\"]`";
        Failure::Other(format!("{} makes no .wasm: {advice}", manifest.display()))
    })
}

/// The `.wasm` of this manifest's package, if that is what a message of cargo's is about.
fn wasm(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_ours =
        message["reason"] == "compiler-artifact" && message["manifest_path"].as_str() == manifest.to_str();
    let files = is_ours.then(|| message["filenames"].as_array())??;
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

/// Whether the Rust that is in force in a folder can build WebAssembly; or why there is none in force.
pub(super) fn has_target(folder: &Path) -> Result<bool, String> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder);
    let output = rustc.output().map_err(|error| format!("Rust could not be run: {error}: {ADVICE}"))?;
    if !output.status.success() {
        // Such as that rustup has no default toolchain, and which command sets one.
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().take_while(|line| !line.is_empty()).collect();
        return Err(format!("rustc does not run here:\n{}", said.join("\n")));
    }
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

const ADVICE: &str = "install Rust from https://rustup.rs, then run `weir plugin doctor`";

fn cargo_failed(error: &io::Error) -> Failure {
    Failure::Other(format!("cargo could not be run: {error}: {ADVICE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_artifact_of_the_package_itself_counts() {
        let manifest = Path::new("/p/Cargo.toml");
        let message = |reason, manifest| {
            format!(
                r#"{{"reason":"{reason}","manifest_path":"{manifest}","filenames":["/t/p.rlib","/t/p.wasm"]}}"#
            )
        };
        let found = wasm(&message("compiler-artifact", "/p/Cargo.toml"), manifest);
        assert_eq!(found.as_deref(), Some(Path::new("/t/p.wasm")));
        assert_eq!(wasm(&message("compiler-artifact", "/q/Cargo.toml"), manifest), None);
        assert_eq!(wasm(&message("build-finished", "/p/Cargo.toml"), manifest), None);
        assert_eq!(wasm("not JSON", manifest), None);
    }
}
