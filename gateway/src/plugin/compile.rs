//! From component to machine code, in a process of its own: a compilation cannot be stopped in a thread, and
//! its memory cannot be bounded there. What comes back is kept in [`super::cache`].

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use wasmtime::component::Component;

use super::Settings;
use super::artifact::Artifact;
use super::cache::{Authentic, CODE_BYTES_MAX, Cache};
use super::engine::Engine;
use super::trusted;

/// How much of the child's complaint is kept.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// Where plugins are compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In `<program> compile-plugin`, under limits; `program` is our own binary.
    Child(PathBuf),
    /// In this process, without limits: for tools and tests, on plugins one trusts.
    Here,
}

/// Why a plugin could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The process could not be run.
    #[error("the compiler process could not be run: {0}")]
    Process(#[from] io::Error),
    /// The process was stopped or complained.
    #[error(
        "it was not compiled within `compile_cpu_s_max` and `compile_memory_bytes_max`, or cannot be: {status}: {complaint}"
    )]
    Failed {
        /// How the process ended.
        status: String,
        /// What it said.
        complaint: String,
    },
    /// More machine code than is reasonable.
    #[error("its machine code has more than {CODE_BYTES_MAX} bytes")]
    TooLarge,
    /// The engine does not take it.
    #[error("the engine refused it: {0:#}")]
    Engine(wasmtime::Error),
}

impl Compiler {
    /// This program's own binary as a child.
    pub fn own_binary() -> io::Result<Self> {
        std::env::current_exe().map(Compiler::Child)
    }

    pub(super) fn component(
        &self,
        engine: &Engine,
        cache: &Cache,
        artifact: &Artifact,
        settings: &Settings,
    ) -> Result<Component, CompileError> {
        let compatibility = engine.compatibility();
        if let Some(code) = cache.get(&artifact.digest, compatibility) {
            match trusted::load(engine, &code) {
                Ok(component) => return Ok(component),
                // The folder came from another machine: compiled code is for one kind of processor.
                Err(error) => {
                    tracing::warn!(%error, "a compiled plugin is not for this machine; compiling it anew")
                }
            }
        }
        let mut code = self.compile(engine, artifact, settings)?;
        if let Err(error) = cache.put(&artifact.digest, compatibility, &mut code) {
            tracing::warn!(%error, "a compiled plugin could not be kept; it will be compiled again");
        }
        trusted::load(engine, &code).map_err(CompileError::Engine)
    }

    fn compile(
        &self,
        engine: &Engine,
        artifact: &Artifact,
        settings: &Settings,
    ) -> Result<Authentic, CompileError> {
        let code = match self {
            Compiler::Here => {
                engine.inner().precompile_component(&artifact.component).map_err(CompileError::Engine)?
            }
            Compiler::Child(program) => {
                let mut child = Command::new(program)
                    .arg("compile-plugin")
                    .arg(format!("--memory-bytes-max={}", settings.compile_memory_bytes_max))
                    .arg(format!("--cpu-s-max={}", settings.compile_cpu_s_max))
                    .env_clear()
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()?;
                let code = converse(&mut child, &artifact.component);
                if code.is_err() {
                    // It may still be running if it was we who gave up; then nobody else would end it.
                    drop(child.kill());
                }
                let status = child.wait()?;
                let code = code?;
                if !status.success() {
                    return Err(CompileError::Failed {
                        status: status.to_string(),
                        complaint: complaint(&mut child),
                    });
                }
                code
            }
        };
        Ok(Authentic::just_compiled(&code))
    }
}

/// Writes the component and reads the code. The child reads all before it writes, so neither waits in vain.
fn converse(child: &mut Child, component: &[u8]) -> Result<Vec<u8>, CompileError> {
    if let Some(mut stdin) = child.stdin.take() {
        // A child that died early closes the pipe; its status says more than this error.
        drop(stdin.write_all(component));
    }
    let mut code = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(CODE_BYTES_MAX as u64 + 1).read_to_end(&mut code)?;
    }
    if code.len() > CODE_BYTES_MAX { Err(CompileError::TooLarge) } else { Ok(code) }
}

fn complaint(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        drop(stderr.take(COMPLAINT_BYTES_MAX).read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The child's side, `weir compile-plugin`: limits itself, reads a component from standard input and writes
/// machine code to standard output.
pub fn compile_plugin(memory_bytes_max: u64, cpu_s_max: u64) -> wasmtime::Result<()> {
    let at_most = |amount| Rlimit { current: Some(amount), maximum: Some(amount) };
    setrlimit(Resource::As, at_most(memory_bytes_max))?;
    setrlimit(Resource::Cpu, at_most(cpu_s_max))?;
    setrlimit(Resource::Core, at_most(0))?;
    setpriority_process(None, 19)?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    let code = Engine::quiet()?.inner().precompile_component(&component)?;
    io::stdout().lock().write_all(&code)?;
    Ok(())
}
