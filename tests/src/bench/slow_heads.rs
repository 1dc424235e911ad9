//! Connections whose heads come at one byte a second, and what good traffic notices of them. The gateway cuts each when its
//! time for a head is up; another takes its place at once, so that there are as many all the time.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;
use weir::kafka::sys::schedule_when_idle;

use super::Result;
use super::compare::median;
use super::cpu::Sample;
use super::load::{Moment, Plan, Tally, run as offer};
use super::payload::Shape;
use super::pin::{Cores, on};
use super::process::{Gateway, Sink, Workbench};

const HEAD: &[u8] = b"POST /v1/events/orders HTTP/1.1\r\nhost: weir\r\nx-slow: ";
const PACE: Duration = Duration::from_secs(1);
/// What the gateway gives a head by default; the connections begin spread over so long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the slow ones may take until they are all there.
const RISE_TIMEOUT: Duration = Duration::from_secs(60);
/// The addresses that they come from, from 127.0.0.2 on: ports, and connections of an address, have limits.
const SOURCES: usize = 20;
const SETTLE: Duration = Duration::from_millis(50);
/// What is promised.
const P99_RATIO_MAX: f64 = 1.5;
/// Fewer than this share of them at either end of a window, by the gateway's count, and it proves nothing.
const OPEN_SHARE_MIN: f64 = 0.95;

/// How many, and how often.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Slow connections at once.
    pub connections: usize,
    /// Windows without them, each followed by one with them.
    pub pairs: usize,
    /// Seconds of one window.
    pub window_s: u64,
    /// Good events a second, one in each request.
    pub events_per_s: u64,
}

/// Two windows.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// P99 from the due time, without the slow ones.
    pub quiet_p99_ms: f64,
    /// The same with them.
    pub busy_p99_ms: f64,
    /// The P99 of what the generator was late, without them and with them.
    pub late_p99_ms: [f64; 2],
    /// The share of one core that the gateway used, without them and with them.
    pub gateway_cores: [f64; 2],
    /// Connections that the gateway had open when the second window began and when it ended.
    pub open: [u64; 2],
    /// Slow connections that it cut within it.
    pub cut: u64,
    /// Good requests that were not answered 201, or not sent in time.
    pub failed: u64,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How many, and how often.
    pub effort: Effort,
    /// In the order they were measured.
    pub pairs: Vec<Pair>,
    /// The median of the pairs' ratios.
    pub p99_ratio: f64,
    /// Whether what was promised was kept.
    pub kept: bool,
}

/// Offers good traffic without slow heads and with them, in turns.
pub fn run(workbench: &Workbench, cores: &Cores, effort: Effort) -> Result<Report> {
    raise_files(effort.connections)?;
    let sink = Sink::start(workbench, &["orders"])?;
    let config = format!(
        "workers: 1\nlimits: {{ connections_max: {} }}\n{}",
        2 * effort.connections,
        workbench.config(&sink.bootstrap)
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gateway = on(&cores.gateway, || runtime.block_on(Gateway::ours(config)))?;
    let open = || runtime.block_on(open_connections(&gateway));
    let mut first_event = 0;
    let mut window = |samples: &mut Vec<(Sample, u64)>| -> Result<Tally> {
        let tally = offer(&plan(&gateway, effort, first_event), |_: Moment| {
            samples.push((Sample::take(gateway.pid())?, open()?));
            Ok(())
        })?;
        first_event = tally.next_event;
        Ok(tally)
    };
    let mut pairs = Vec::with_capacity(effort.pairs);
    for _ in 0..effort.pairs {
        let (mut before, mut during) = (Vec::with_capacity(2), Vec::with_capacity(2));
        let quiet = window(&mut before)?;
        let slow = SlowHeads::start(gateway.address, effort.connections)?;
        slow.wait_until_all_are_there()?;
        let cut = slow.cut();
        let busy = window(&mut during)?;
        let cut = slow.cut() - cut;
        slow.end()?;
        let pair = Pair::new(&quiet, &busy, &before, &during, cut)?;
        eprintln!("{}", pair.line());
        pairs.push(pair);
    }
    let p99_ratio = median(pairs.iter().map(Pair::ratio).collect());
    let there =
        |pair: &Pair| pair.open.iter().all(|open| *open as f64 >= OPEN_SHARE_MIN * effort.connections as f64);
    let kept = p99_ratio <= P99_RATIO_MAX && pairs.iter().all(|pair| pair.failed == 0 && there(pair));
    Ok(Report { effort, pairs, p99_ratio, kept })
}

fn plan(gateway: &Gateway, effort: Effort, first_event: u64) -> Plan {
    Plan {
        target: gateway.address,
        shape: Shape::Single,
        events_per_s: Some(effort.events_per_s),
        connections: 64,
        warm_up: Duration::from_secs(2),
        window: Duration::from_secs(effort.window_s),
        first_event,
    }
}

async fn open_connections(gateway: &Gateway) -> Result<u64> {
    let url = gateway.admin_url("/metrics").ok_or("a gateway without metrics")?;
    let text = reqwest::get(url).await?.text().await?;
    let open = text.lines().find_map(|line| line.strip_prefix("weir_connections "));
    Ok(open.ok_or("no count of connections")?.parse()?)
}

/// Lets this process, and those it starts, have so many connections and all else that they need.
fn raise_files(connections: usize) -> Result<()> {
    let needed = u64::try_from(connections)? + 1_000;
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|maximum| maximum < needed) {
        return Err(format!("a process may have {maximum:?} files open, and this takes {needed}").into());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(maximum.unwrap_or(needed)), maximum })?)
}

/// The slow connections, on a thread of their own.
struct SlowHeads {
    count: usize,
    open: Arc<AtomicUsize>,
    cut: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl SlowHeads {
    fn start(target: SocketAddr, count: usize) -> Result<SlowHeads> {
        let (open, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let (stop, mut stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let counters = (Arc::clone(&open), Arc::clone(&cut));
        let thread = std::thread::Builder::new().name("slow-heads".to_owned()).spawn(move || {
            // The good ones are what is measured, on the same core: their generator gets it whenever it wakes.
            schedule_when_idle().expect("nobody needs a right to step back");
            let tasks = LocalSet::new();
            for index in 0..count {
                tasks.spawn_local(drip(target, index, count, counters.clone()));
            }
            // What still drips is dropped with its tasks.
            tasks.block_on(&runtime, async { drop(stopped.wait_for(|stop| *stop).await) });
        })?;
        Ok(SlowHeads { count, open, cut, stop, thread })
    }

    fn wait_until_all_are_there(&self) -> Result<()> {
        let since = Instant::now();
        while self.open.load(Ordering::Relaxed) < self.count {
            if since.elapsed() > RISE_TIMEOUT {
                let open = self.open.load(Ordering::Relaxed);
                return Err(format!("of {} slow connections, {open} could be opened", self.count).into());
            }
            std::thread::sleep(SETTLE);
        }
        Ok(())
    }

    fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    fn end(self) -> Result<()> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| "the slow connections ended in a panic")?;
        Ok(())
    }
}

/// One slow connection after the other.
async fn drip(
    target: SocketAddr,
    index: usize,
    count: usize,
    (open, cut): (Arc<AtomicUsize>, Arc<AtomicU64>),
) {
    let offset = u8::try_from(index % SOURCES).expect("few addresses");
    let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2 + offset), 0));
    // So that they are not all cut at once.
    tokio::time::sleep(HEADER_TIMEOUT.mul_f64(index as f64 / count as f64)).await;
    loop {
        let connected = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(source)?;
            socket.connect(target).await
        };
        let Ok(stream) = connected.await else {
            tokio::time::sleep(SETTLE).await;
            continue;
        };
        open.fetch_add(1, Ordering::Relaxed);
        for byte in HEAD.iter().chain(std::iter::repeat(&b'x')) {
            // It has something to say only when it cuts.
            if stream.try_write(&[*byte]).is_err() || timeout(PACE, stream.readable()).await.is_ok() {
                break;
            }
        }
        open.fetch_sub(1, Ordering::Relaxed);
        cut.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pair {
    fn new(
        quiet: &Tally,
        busy: &Tally,
        before: &[(Sample, u64)],
        during: &[(Sample, u64)],
        cut: u64,
    ) -> Result<Pair> {
        let [(quiet_begin, _), (quiet_end, _)] = before else {
            return Err("a window without its moments".into());
        };
        let [(busy_begin, open_begin), (busy_end, open_end)] = during else {
            return Err("a window without its moments".into());
        };
        let p99_ms = |tally: &Tally| tally.latency_us.value_at_quantile(0.99) as f64 / 1e3;
        let share = |begin: &Sample, end: &Sample| {
            let spent = end.since(begin);
            spent.cpu_s / spent.wall_s
        };
        let failed = |tally: &Tally| {
            let others = tally.statuses.iter().filter(|(status, _)| **status != 201);
            others.map(|(_, count)| *count).sum::<u64>() + tally.backlog_requests
        };
        Ok(Pair {
            quiet_p99_ms: p99_ms(quiet),
            busy_p99_ms: p99_ms(busy),
            late_p99_ms: [quiet, busy].map(|tally| tally.late_us.value_at_quantile(0.99) as f64 / 1e3),
            gateway_cores: [share(quiet_begin, quiet_end), share(busy_begin, busy_end)],
            open: [*open_begin, *open_end],
            cut,
            failed: failed(quiet) + failed(busy),
        })
    }

    fn ratio(&self) -> f64 {
        self.busy_p99_ms / self.quiet_p99_ms
    }

    fn line(&self) -> String {
        let [quiet, busy] = self.gateway_cores;
        format!(
            "P99 {:>6.1} ms, with slow heads {:>6.1} ms: {:.2}x; {:?} connections, {} cut, {} good requests failed; \
             gateway {quiet:.2} and {busy:.2} cores, generator late {:?} ms",
            self.quiet_p99_ms,
            self.busy_p99_ms,
            self.ratio(),
            self.open,
            self.cut,
            self.failed,
            self.late_p99_ms,
        )
    }
}

impl Report {
    /// The table.
    pub fn print(&self) {
        let Effort { connections, events_per_s, .. } = self.effort;
        println!(
            "\n{connections} connections whose heads come at a byte a second, {events_per_s} good events/s"
        );
        for pair in &self.pairs {
            println!("{}", pair.line());
        }
        let kept = if self.kept { "kept" } else { "MISSED" };
        println!(
            "{kept}: P99 of good traffic at most {P99_RATIO_MAX}x with them: {:.2}x, the median",
            self.p99_ratio
        );
    }

    /// Writes all of it to `slow-heads.json` in `directory`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("slow-heads.json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        println!("every figure: {}", path.display());
        Ok(())
    }
}
