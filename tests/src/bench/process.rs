//! The programs of a bench beside this one: the sink, the echo, the textbook gateway and ours.
//! Gateways are other processes here: they are reached by HTTP and judged by /proc.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Result;
use super::payload::{Request, Shape};
use crate::world::{Launch, Process, Weir, WeirOptions, free_port, inputs, until};

/// How long a program may take until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the programs, the generated files and the results are.
pub struct Workbench {
    root: PathBuf,
    /// Logs and results.
    pub output: PathBuf,
}

/// A running gateway; it ends with this handle.
pub struct Gateway {
    /// Where it listens.
    pub address: SocketAddr,
    program: Program,
}

enum Program {
    Other(Process),
    Ours(Weir),
}

impl Gateway {
    /// Starts `weir serve` with this config and waits until it is ready.
    pub async fn ours(config: String) -> Result<Gateway> {
        let weir = Weir::start(WeirOptions::serve(config)).await;
        let url = weir.url("");
        let address = url.strip_prefix("http://").ok_or("an address that is not http")?.parse()?;
        Ok(Gateway { address, program: Program::Ours(weir) })
    }

    /// Weir's admin listener, if this is Weir.
    pub fn admin_url(&self, path: &str) -> Option<String> {
        match &self.program {
            Program::Other(_) => None,
            Program::Ours(weir) => Some(weir.admin_url(path)),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        match &self.program {
            Program::Other(process) => process.pid(),
            Program::Ours(weir) => weir.process().pid(),
        }
    }
}

impl Workbench {
    /// In the repository this program was built in.
    pub fn find() -> Result<Workbench> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("a crate without a workspace")?.to_owned();
        let output = inputs::target().join("bench");
        fs::create_dir_all(&output)?;
        Ok(Workbench { root, output })
    }

    /// Builds what is measured, so that no figure comes from a program older than its source.
    pub fn build(&self) -> Result<()> {
        let status = Command::new("cargo")
            .args(["build", "--release", "--workspace", "--bins"])
            .current_dir(&self.root)
            .status()?;
        if status.success() { Ok(()) } else { Err("cargo could not build the gateways".into()) }
    }

    /// Starts a bare echo of as many bytes as a gateway would read and answer.
    pub async fn echo(&self, shape: Shape) -> Result<Gateway> {
        let address = free_address();
        let request_bytes = Request::new(shape, address).bytes().len();
        let answer_bytes = 400 * shape.events();
        self.start("echo", address, &[&request_bytes.to_string(), &answer_bytes.to_string()]).await
    }

    /// Starts the textbook gateway over `bootstrap`.
    pub async fn textbook(&self, bootstrap: &str) -> Result<Gateway> {
        let schema = self.root.join("schemas/orders.created/1.json");
        self.start("textbook", free_address(), &[bootstrap, &schema.display().to_string()]).await
    }

    /// Starts `weir serve` over `bootstrap` and waits until it is ready.
    pub async fn ours(&self, bootstrap: &str) -> Result<Gateway> {
        Gateway::ours(self.config(bootstrap)).await
    }

    /// The config of ours over `bootstrap`.
    pub fn config(&self, bootstrap: &str) -> String {
        let plugin = inputs::plugin("entity_key");
        include_str!("weir.yaml")
            .replace("{bootstrap}", bootstrap)
            .replace("{schemas}", &self.root.join("schemas").display().to_string())
            .replace("{plugin}", &plugin.display().to_string())
    }

    async fn start(&self, name: &str, address: SocketAddr, args: &[&str]) -> Result<Gateway> {
        let mut all = vec![address.to_string()];
        all.extend(args.iter().map(ToString::to_string));
        let process = Process::start(Launch {
            name: name.to_owned(),
            program: ours(name),
            args: all.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            folder: self.output.clone(),
        });
        until(&format!("{name} listens"), START_TIMEOUT, async || {
            process.assert_running();
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        Ok(Gateway { address, program: Program::Other(process) })
    }
}

/// The mock cluster's process.
pub struct Sink {
    child: Child,
    /// Its bootstrap address.
    pub bootstrap: String,
}

impl Sink {
    /// Starts it with these topics and theirs for dead letters; it ends when this handle, and with it its stdin, is
    /// gone.
    pub fn start(workbench: &Workbench, topics: &[&str]) -> Result<Sink> {
        Sink::slow(workbench, topics, Duration::ZERO)
    }

    /// The same, each of whose answers takes so long; with one partition then, so that all wait in one line.
    pub fn slow(workbench: &Workbench, topics: &[&str], delay: Duration) -> Result<Sink> {
        let log = File::create(workbench.output.join("sink.log"))?;
        let mut command = Command::new(ours("sink"));
        if !delay.is_zero() {
            command.args(["--partitions", "1"]);
        }
        command.args(["--delay-ms", &delay.as_millis().to_string()]);
        for topic in topics {
            command.args(["--topic", topic]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().ok_or("a sink without stdout")?;
        let mut bootstrap = String::new();
        BufReader::new(stdout).read_line(&mut bootstrap)?;
        Ok(Sink { child, bootstrap: bootstrap.trim().to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it is our child, and nobody else waits for it");
    }
}

/// A program of this package.
fn ours(name: &str) -> PathBuf {
    inputs::target().join("release").join(name)
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
