//! Plugins in JavaScript and Python: their SDKs travel inside this program, each with the script that builds with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failure;
use super::language::Language;

macro_rules! files {
    ($folder:literal: $($made:literal from $kept:literal),* $(,)?) => {
        &[$(($made, include_str!(concat!("../../../../", $folder, "/", $kept)))),*]
    };
}

pub(super) const JAVASCRIPT: Language = Language {
    name: "js",
    manifest: "package.json",
    template: files!["plugins/sdk-js/template":
        "package.json" from "package.json",
        ".gitignore" from "gitignore",
        "README.md" from "README.md",
        "plugin.js" from "plugin.js",
        "tests/a-user.in.json" from "tests/a-user.in.json",
        "tests/a-user.out.json" from "tests/a-user.out.json",
        "tests/a-device.in.json" from "tests/a-device.in.json",
        "tests/a-device.out.json" from "tests/a-device.out.json",
    ],
    build: |folder| build(folder, JAVASCRIPT_SDK),
};

pub(super) const PYTHON: Language = Language {
    name: "python",
    manifest: "pyproject.toml",
    template: files!["plugins/sdk-python/template":
        "pyproject.toml" from "pyproject.toml",
        ".gitignore" from "gitignore",
        "README.md" from "README.md",
        "plugin.py" from "plugin.py",
        "tests/a-user.in.json" from "tests/a-user.in.json",
        "tests/a-user.out.json" from "tests/a-user.out.json",
        "tests/a-device.in.json" from "tests/a-device.in.json",
        "tests/a-device.out.json" from "tests/a-device.out.json",
    ],
    build: |folder| build(folder, PYTHON_SDK),
};

type Files = &'static [(&'static str, &'static str)];

const JAVASCRIPT_SDK: Files = files!["plugins/sdk-js":
    "build" from "build",
    "bundle.js" from "bundle.js",
    "guest.js" from "guest.js",
    "package.json" from "package.json",
    "section.js" from "section.js",
    "weir-plugin.js" from "weir-plugin.js",
    "weir-plugin.d.ts" from "weir-plugin.d.ts",
];

const PYTHON_SDK: Files = files!["plugins/sdk-python":
    "build" from "build",
    "assemble.py" from "assemble.py",
    "weir_guest.py" from "weir_guest.py",
    "weir_plugin.py" from "weir_plugin.py",
];

const CONTRACT: Files = files!["wit/v0.1.0":
    "wit/imports.wit" from "imports.wit",
    "wit/plugin.wit" from "plugin.wit",
    "wit/worlds.wit" from "worlds.wit",
];

/// Lays the SDK out and runs its script, which says itself what is missing.
fn build(folder: &Path, sdk: Files) -> Result<PathBuf, Failure> {
    let laid_out =
        LaidOut::new(sdk).map_err(|error| Failure::Other(format!("the SDK cannot be laid out: {error}")))?;
    let failed = |error: io::Error| Failure::Other(format!("{} cannot be built: {error}", folder.display()));
    let folder = folder.canonicalize().map_err(failed)?;
    let output = folder.join(folder.file_name().unwrap_or("plugin".as_ref())).with_extension("wasm");
    let mut script = Command::new("sh");
    let done = script.arg(laid_out.0.join("build")).arg(&folder).arg(&output).status().map_err(failed)?;
    if done.success() {
        Ok(output)
    } else {
        Err(Failure::Other("it was not built; the reason is above".to_owned()))
    }
}

/// An SDK's files in a folder of their own, for as long as they are needed.
struct LaidOut(PathBuf);

impl LaidOut {
    fn new(sdk: Files) -> io::Result<Self> {
        let folder = LaidOut(std::env::temp_dir().join(format!("weir-sdk-{}", uuid::Uuid::now_v7())));
        fs::create_dir_all(folder.0.join("wit"))?;
        for (name, text) in sdk.iter().chain(CONTRACT) {
            fs::write(folder.0.join(name), text)?;
        }
        Ok(folder)
    }
}

impl Drop for LaidOut {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
