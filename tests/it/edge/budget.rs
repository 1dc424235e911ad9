//! The byte budget with a Kafka that says nothing: what was taken in is held, the rest is shed, and memory stays within
//! what the budget promises.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use weir_tests::world::{Weir, WeirOptions, inputs, until};

const BUDGET_BYTES: u64 = 64 << 20;

/// librdkafka's mock cluster in a process of its own, which can be frozen; it ends with its stdin.
pub(crate) struct Sink {
    process: Child,
    _stdin: ChildStdin,
    pub(crate) bootstrap: String,
}

impl Sink {
    pub(crate) fn start() -> Sink {
        let mut command = Command::new(inputs::target().join("release/sink"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut bootstrap = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut bootstrap).unwrap();
        Sink { process, _stdin: stdin, bootstrap: bootstrap.trim().to_owned() }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Whether a signal that stops or ends it has reached all its threads: until then one of them may still answer.
    fn is_still(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        // The state stands behind the name, which is in brackets (proc_pid_stat(5)).
        let is_still =
            |stat: &str| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 'Z', 'X']));
        threads
            .flatten()
            .all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| is_still(&stat)))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.process.wait().unwrap();
    }
}

async fn gateway(sink: &Sink, properties: &str) -> Weir {
    let config = format!(
        "listen: {{listen}}\nadmin: {{admin}}\nkafka: {{brokers: [\"{}\"], allow_weak_topics: true, properties: {{{properties}}}}}\n\
         limits: {{in_flight_bytes_max: {BUDGET_BYTES}, answer_timeout_ms: 500}}\n\
         routes: [{{name: orders, topic: orders}}]\n",
        sink.bootstrap
    );
    Weir::start(WeirOptions::serve(config)).await
}

/// `VmRSS` or `VmHWM` of the gateway, in bytes.
fn memory_bytes(weir: &Weir, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", weir.process().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    1024 * line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
}

async fn statuses(http: &reqwest::Client, weir: &Weir, body: &str, count: usize) -> Vec<(u16, bool)> {
    let post = async || {
        let request = http.post(weir.url("/v1/events/orders")).header("content-type", "application/json");
        let answer = request.body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"))
    };
    join_all((0..count).map(|_| post())).await
}

/// Who will not come again is not waited for half a minute.
const SOON: &str = "message.timeout.ms: 12000";

fn arrays() -> String {
    let event = format!("{{\"a\":\"{}\"}}", "x".repeat(390));
    format!("[{}]", vec![event; 100].join(","))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_silent_memory_stays_within_the_budget_for_arrays() {
    within_the_budget(Signal::STOP, "", &arrays()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_silent_memory_stays_within_the_budget_for_large_events() {
    within_the_budget(Signal::STOP, "", &format!("{{\"a\":\"{}\"}}", "x".repeat(200_000))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_dead_memory_stays_within_the_budget() {
    within_the_budget(Signal::KILL, SOON, &arrays()).await;
}

/// Posts until 200 requests are shed, after Kafka got this signal.
async fn within_the_budget(signal: Signal, properties: &str, body: &str) {
    let sink = Sink::start();
    let weir = gateway(&sink, properties).await;
    let http = reqwest::Client::new();
    until("every worker's way to Kafka is open", Duration::from_secs(30), async || {
        let warm = statuses(&http, &weir, body, 64).await;
        warm.iter().all(|(status, _)| matches!(status, 200 | 201)).then_some(())
    })
    .await;
    let base = memory_bytes(&weir, "VmRSS");
    sink.signal(signal);
    until("Kafka is silent", Duration::from_secs(30), async || sink.is_still().then_some(())).await;
    let (mut taken, mut shed) = (0, 0);
    while shed < 200 {
        for (status, told) in statuses(&http, &weir, body, 64).await {
            match status {
                504 => taken += 1,
                503 if told => shed += 1,
                _ => panic!("{status}"),
            }
        }
        assert!(taken < 10_000, "nothing is shed");
    }
    let grown = memory_bytes(&weir, "VmHWM") - base;
    println!("{taken} taken, {shed} shed; {} MiB beyond {} MiB", grown >> 20, base >> 20);
    assert!(grown <= BUDGET_BYTES * 13 / 10, "{grown} bytes");
    if signal == Signal::STOP {
        sink.signal(Signal::CONT);
    }
    until("what was held is given back, and there is room again", Duration::from_secs(40), async || {
        let metrics = http.get(weir.admin_url("/metrics")).send().await.ok()?.text().await.ok()?;
        metrics.contains("weir_in_flight_bytes 0").then_some(())
    })
    .await;
    let after = statuses(&http, &weir, body, 1).await;
    let taken = if signal == Signal::STOP { 200..=201 } else { 504..=504 };
    assert!(taken.contains(&after[0].0), "{after:?}");
}
