//! A client of `schemas/api`, made as any other project would make one.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/api");
    println!("cargo:rerun-if-changed={}", schemas.display());
    let described = protox::compile(["weir/v1/weir.proto"], [&schemas])?;
    tonic_prost_build::configure().build_server(false).compile_fds(described)?;
    Ok(())
}
