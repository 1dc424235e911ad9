//! The gateway as its operator sees it: a process with arguments, a config file, two listeners and a log.

use std::ffi::OsString;
use std::time::Duration;

use super::folder::Folder;
use super::{Launch, Process, canaries, free_port, inputs, until};

/// How to start a gateway. In `args`, `config` and `env`, `{listen}` and `{admin}` stand for the addresses of its
/// two listeners (`127.0.0.1:port`), and in `args` `{config}` stands for the path of the config file.
#[derive(Clone, Debug)]
pub struct WeirOptions {
    pub args: Vec<String>,
    /// The text of `weir.yaml`.
    pub config: String,
    pub env: Vec<(String, String)>,
    /// How long it may take until it is ready.
    pub ready_timeout: Duration,
}

impl WeirOptions {
    /// `weir serve -c weir.yaml` with this text in it.
    pub fn serve(config: impl Into<String>) -> Self {
        Self::run(&["serve", "-c", "{config}"], config)
    }

    /// `weir dev` on free ports.
    pub fn dev() -> Self {
        Self::run(&["dev", "--listen", "{listen}", "--admin", "{admin}"], "")
    }

    /// `weir dev` with this config's routes in the example's place.
    pub fn dev_with(config: impl Into<String>) -> Self {
        Self::run(&["dev", "--config", "{config}", "--listen", "{listen}", "--admin", "{admin}"], config)
    }

    fn run(args: &[&str], config: impl Into<String>) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { args, config: config.into(), env: Vec::new(), ready_timeout: Duration::from_secs(60) }
    }
}

const CONFIG: &str = "weir.yaml";

fn fill(text: &str, listen: &str, admin: &str) -> String {
    text.replace("{listen}", listen).replace("{admin}", admin)
}

/// A gateway of ours, ended on drop.
#[derive(Debug)]
pub struct Weir {
    process: Process,
    listen: String,
    admin: String,
    ready_timeout: Duration,
    folder: Folder,
}

impl Drop for Weir {
    fn drop(&mut self) {
        self.process.kill();
        canaries().log(&self.process.log_path());
    }
}

impl Weir {
    /// Starts it and waits until it is ready.
    pub async fn start(options: WeirOptions) -> Self {
        let weir = Self::launch(options);
        weir.ready().await;
        weir
    }

    /// Starts it and does not wait, for a gateway that is meant not to become ready.
    pub fn launch(options: WeirOptions) -> Self {
        let folder = Folder::new("weir");
        let address = || format!("127.0.0.1:{}", free_port());
        let (listen, admin) = (address(), address());
        let fill = |text: &str| fill(text, &listen, &admin);
        let config = folder.write(CONFIG, &fill(&options.config)).display().to_string();
        let launch = Launch {
            name: "weir".to_owned(),
            program: inputs::weir(),
            args: options
                .args
                .iter()
                .map(|arg| OsString::from(fill(arg).replace("{config}", &config)))
                .collect(),
            env: options.env.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            folder: folder.path().to_owned(),
        };
        let process = Process::start(launch);
        Self { process, listen, admin, ready_timeout: options.ready_timeout, folder }
    }

    /// Puts another text into its config file, in one step as an editor does.
    pub fn write_config(&self, text: &str) {
        let written = self.folder.write("weir.yaml.new", &fill(text, &self.listen, &self.admin));
        std::fs::rename(&written, written.with_file_name(CONFIG)).unwrap();
    }

    /// Waits until `/readyz` says 200; panics with the log when it ends instead.
    pub async fn ready(&self) {
        let address = self.admin_url("/readyz");
        until("weir is ready", self.ready_timeout, async || {
            self.process.assert_running();
            let answer = reqwest::get(&address).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// `http://127.0.0.1:port<path>` of the public listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.listen)
    }

    /// `http://127.0.0.1:port<path>` of the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Kill, stop, cont, restart (then [`ready`](Self::ready)), wait, and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGTERM.
    pub fn sigterm(&self) {
        self.process.terminate();
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Waits for its end and gives the exit code, `None` if a signal ended it.
    pub async fn wait(&self, timeout: Duration) -> Option<i32> {
        self.process.wait(timeout).await.code()
    }
}
