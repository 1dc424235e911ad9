//! The processes of a bench: the sink, the textbook gateway and ours, each started, awaited and stopped by its handle.
//! Gateways are other programs here: they are reached by HTTP and judged by /proc.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Result;

/// How long a program may take until it answers.
const START: Duration = Duration::from_secs(30);

/// A child that does not outlive its handle.
pub struct Process(Child);

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing better to do than to go on.
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

/// Where the programs under measurement and their files are.
pub struct Workbench {
    /// The directory of this very program: cargo puts the others beside it.
    programs: PathBuf,
    /// The repository's root.
    pub root: PathBuf,
    /// Logs, generated configs and results.
    pub output: PathBuf,
}

impl Workbench {
    /// Finds everything relative to this program and the repository it was built in.
    pub fn find() -> Result<Workbench> {
        let programs = std::env::current_exe()?.parent().ok_or("a program without a directory")?.to_owned();
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("a crate without a workspace")?.to_owned();
        let output = root.join("target/bench");
        fs::create_dir_all(&output)?;
        Ok(Workbench { programs, root, output })
    }

    /// Builds what is measured, so that no figure comes from a program older than its source.
    pub fn build(&self) -> Result<()> {
        let status = Command::new("cargo")
            .args(["build", "--release", "-p", "weir", "-p", "weir-tests", "--bins"])
            .current_dir(&self.root)
            .status()?;
        if status.success() { Ok(()) } else { Err("cargo could not build the gateways".into()) }
    }

    /// Starts the sink; its bootstrap address comes with it.
    pub fn sink(&self) -> Result<(Process, String)> {
        let mut child = Command::new(self.programs.join("sink"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(self.log("sink")?)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("a sink without stdout")?;
        let process = Process(child);
        let mut bootstrap = String::new();
        BufReader::new(stdout).read_line(&mut bootstrap)?;
        Ok((process, bootstrap.trim().to_owned()))
    }

    /// Starts the textbook gateway over `bootstrap`.
    pub fn textbook(&self, bootstrap: &str) -> Result<(Process, SocketAddr)> {
        let address = free_address()?;
        let mut command = Command::new(self.programs.join("textbook"));
        command.arg(address.to_string()).arg(bootstrap).arg(self.schema());
        self.start("textbook", command, address)
    }

    /// Starts `weir serve` over `bootstrap`: route, schema and one plugin, and nothing else than the textbook does.
    pub fn ours(&self, bootstrap: &str) -> Result<(Process, SocketAddr)> {
        let (address, admin) = (free_address()?, free_address()?);
        let config = self.output.join("weir.yaml");
        fs::write(&config, self.config(bootstrap, address, admin))?;
        let mut command = Command::new(self.programs.join("weir"));
        command.arg("serve").arg("-c").arg(&config);
        self.start("weir", command, address)
    }

    fn schema(&self) -> PathBuf {
        self.root.join("schemas/orders.created/1.json")
    }

    fn config(&self, bootstrap: &str, address: SocketAddr, admin: SocketAddr) -> String {
        include_str!("weir.yaml")
            .replace("@bootstrap@", bootstrap)
            .replace("@listen@", &address.to_string())
            .replace("@admin@", &admin.to_string())
            .replace("@root@", &self.root.display().to_string())
    }

    fn start(&self, name: &str, mut command: Command, address: SocketAddr) -> Result<(Process, SocketAddr)> {
        let log = self.log(name)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Process(command.spawn()?);
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.0.try_wait()? {
                return Err(format!("{name} ended with {status}; see {name}.log in target/bench").into());
            }
            if Instant::now() > deadline {
                return Err(format!("{name} did not listen within {START:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok((process, address))
    }

    fn log(&self, name: &str) -> Result<File> {
        Ok(File::create(self.output.join(format!("{name}.log")))?)
    }
}

/// A loopback address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
