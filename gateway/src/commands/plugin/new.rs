//! `weir plugin new`: the folder of a plugin that builds and passes its own tests before a word is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::language::{self, Language};
use super::{Failure, print};

const AFTER_HELP: &str = "\
Example:
  weir plugin new --lang rust my-keys && cd my-keys && weir plugin test";

/// Flags of `weir plugin new`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct NewArgs {
    /// The plugin's name and that of its folder: lower-case letters, digits, - and _.
    pub name: String,
    /// What it is written in.
    #[arg(long, default_value = "rust", value_parser = language::parser())]
    pub lang: &'static Language,
    /// A folder with the SDK, instead of the released one.
    #[arg(long, value_name = "FOLDER")]
    pub sdk: Option<PathBuf>,
}

/// Where this program's own source has its SDK.
const OWN_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/sdk");
/// What is on crates.io for this program.
const RELEASED: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
const NAME_BYTES_MAX: usize = 64;
/// Names that cargo or Rust keeps to itself, or that the template uses.
const TAKEN: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else \
    enum examples extern false final fn for gen if impl in incremental let loop macro match mod move mut override \
    priv proc_macro pub ref return self static std struct super test trait true try type typeof unsafe unsized use \
    virtual weir-plugin weir_plugin where while yield";

/// `weir plugin new`.
pub(super) fn run(args: &NewArgs) -> Result<ExitCode, Failure> {
    check_name(&args.name).map_err(|why| Failure::Config(format!("`{}` {why}", args.name)))?;
    let sdk = Sdk::choose(args.sdk.as_deref())?;
    let folder = Path::new(&args.name);
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Config(format!("{} exists already", folder.display())),
        _ => Failure::Other(format!("{} cannot be made: {error}", folder.display())),
    };
    fs::create_dir(folder).map_err(failed)?;
    for (path, text) in args.lang.template {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
        fs::write(&path, filled(text, &args.name, &sdk)).map_err(failed)?;
    }
    let names_sdk = args.lang.template.iter().any(|(_, text)| text.contains("{{sdk}}"));
    let sdk = if names_sdk { format!("\nIts SDK: {}", sdk.told()) } else { String::new() };
    let name = &args.name;
    print(&format!(
        "Made {name}/, a plugin in {}.{sdk}\n\nNext:\n  cd {name}\n  weir plugin test\n  weir plugin build\n",
        args.lang.name
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if !name.bytes().all(plain) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        Err("is no name for a plugin: use lower-case letters, digits, - and _, a letter first")
    } else if name.len() > NAME_BYTES_MAX {
        Err("is too long: a plugin's name has at most 64 bytes")
    } else if TAKEN.split_whitespace().any(|taken| taken == name) {
        Err("means something else to cargo; choose another name")
    } else {
        Ok(())
    }
}

fn filled(text: &str, name: &str, sdk: &Sdk) -> String {
    text.replace("{{name}}", name).replace("{{sdk}}", &sdk.dependency())
}

/// Where the SDK of a new plugin comes from.
enum Sdk {
    Folder(String),
    Released,
}

impl Sdk {
    fn choose(asked: Option<&Path>) -> Result<Self, Failure> {
        match asked.unwrap_or(Path::new(OWN_SDK)).canonicalize() {
            Ok(folder) => {
                let folder = folder.into_os_string().into_string();
                let path =
                    folder.map_err(|path| Failure::Config(format!("{} is not UTF-8", path.display())))?;
                Ok(Sdk::Folder(path))
            }
            Err(error) => match asked {
                Some(folder) => Err(Failure::Config(format!("--sdk {}: {error}", folder.display()))),
                None => Ok(Sdk::Released),
            },
        }
    }

    /// The right side of the dependency in TOML; a JSON string is one in TOML too.
    fn dependency(&self) -> String {
        match self {
            Sdk::Folder(path) => format!("{{ path = {} }}", serde_json::Value::from(path.as_str())),
            Sdk::Released => format!("\"{RELEASED}\""),
        }
    }

    fn told(&self) -> String {
        match self {
            Sdk::Folder(path) => format!("{path} (`--sdk FOLDER` names another)"),
            Sdk::Released => format!("weir-plugin {RELEASED} from crates.io (`--sdk FOLDER` names a folder)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_crates_and_of_plugins() {
        for name in ["keys", "my-keys", "k2_x"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "a".repeat(65);
        for name in ["", "2keys", "-keys", "Keys", "a/b", "..", "ké", "fn", "test", "weir-plugin", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_sdk_is_a_path_or_a_version() {
        let folder = Sdk::Folder("/a \"b\"".to_owned());
        assert_eq!(filled("{{name}} = {{sdk}}", "x", &folder), r#"x = { path = "/a \"b\"" }"#);
        assert_eq!(filled("{{sdk}}", "x", &Sdk::Released), format!("\"{RELEASED}\""));
    }
}
