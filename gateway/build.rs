//! The Rust types of `schemas/api`, and its description for clients that ask for it (gRPC reflection). Compiled in Rust:
//! nobody needs protoc.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

const PROTO: &str = "weir/v1/weir.proto";

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script through its environment")]
fn main() -> Result<(), Box<dyn Error>> {
    let schemas = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../schemas/api");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={}", schemas.display());
    let described = protox::compile([PROTO], [&schemas])?;
    fs::write(out.join("api.binpb"), described.encode_to_vec())?;
    prost_build::Config::new().bytes(["."]).compile_fds(described)?;
    Ok(())
}
