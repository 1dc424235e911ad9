//! One running service: started with its output in a log file, killed with its whole group on drop.
//! A handle is shared between tests, so all of it works on `&self`.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::{until, watchdog};

/// How much of a log is shown when a test fails.
const LOG_TAIL_BYTES_MAX: usize = 8 * 1024;

/// How to start a service; kept, so that a killed one can be started again the same way.
#[derive(Clone, Debug)]
pub struct Launch {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
    /// Working directory; the log is `<name>.log` in it.
    pub folder: PathBuf,
}

impl Launch {
    pub fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn spawn(&self) -> Child {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().cloned()).current_dir(&self.folder).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.program));
        watchdog::own_group(child.id());
        child
    }
}

/// A started service, running or not.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Mutex<Child>,
}

impl Process {
    pub fn start(launch: Launch) -> Self {
        let child = Mutex::new(launch.spawn());
        Self { launch, child }
    }

    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// `None` while it runs.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.child().try_wait().unwrap()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        kill(&mut self.child());
    }

    /// SIGTERM; see [`wait`](Self::wait).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: frozen, its sockets open, until [`cont`](Self::cont).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it if it runs and starts it again, with the same folder, arguments and log.
    pub fn restart(&self) {
        let mut child = self.child();
        kill(&mut child);
        *child = self.launch.spawn();
    }

    /// Waits for the end; panics when it still runs after `timeout`.
    pub async fn wait(&self, timeout: Duration) -> ExitStatus {
        until(&format!("{} ends", self.launch.name), timeout, async || self.exited()).await
    }

    /// All it has printed, standard output and error together.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.launch.log_path()).unwrap_or_default()).into_owned()
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.launch.log_path()
    }

    /// Panics with the log if it has ended: whoever waits for it need not wait on.
    pub fn assert_running(&self) {
        if let Some(status) = self.exited() {
            panic!("{} ended with {status}; its log:\n{}", self.launch.name, self.log());
        }
    }

    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if child.try_wait().unwrap().is_none() {
            kill_process_group(group(&child), signal).unwrap();
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.ceil_char_boundary(log.len().saturating_sub(LOG_TAIL_BYTES_MAX));
            eprintln!("--- log of {} ---\n{}", self.launch.name, log.get(from..).unwrap_or_default());
        }
    }
}

fn group(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Kills the group even if its leader has ended: a child of the service may have outlived it.
fn kill(child: &mut Child) {
    // The group is gone when nothing of it is left, which is what we want.
    kill_process_group(group(child), Signal::KILL).ok();
    child.wait().unwrap();
    watchdog::forget_group(child.id());
}
