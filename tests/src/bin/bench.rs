//! `make bench`: ours beside the textbook gateway, in one run, on the same loads; then a count on real Kafka.
//! It measures the gateway that `WEIR_BIN` names, or else the one of the everyday build, which it makes anew; it prints a
//! table and leaves every figure in `target/bench/bench.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;
use weir_tests::bench::Result;
use weir_tests::bench::compare::{CELLS, Comparison, Effort, Side, compare, plan};
use weir_tests::bench::count::{Count, count, send};
use weir_tests::bench::load::Plan;
use weir_tests::bench::payload::Shape;
use weir_tests::bench::pin::{Awake, Cores, on};
use weir_tests::bench::process::{Gateway, Sink, Workbench};
use weir_tests::bench::report::{Machine, Report};
use weir_tests::bench::window::{Pids, measure};
use weir_tests::world::{Kafka, KafkaOptions, inputs};

/// Offered to a real broker on the same cores, in arrays; a tenth of it as singles.
const COUNTED_PER_S: u64 = 50_000;

const COUNTED_FOR: Duration = Duration::from_secs(4);

/// Compares Weir with the textbook gateway: CPU per event, latency, and nothing lost.
#[derive(Parser)]
struct Flags {
    /// ABBA rounds per load; the first is dropped. Many short ones tell more than a few long ones: the machine's own
    /// changes last for seconds.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(2..))]
    rounds: u64,
    /// Seconds of one measured window.
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Two rounds of one second: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// The textbook gateway in our place too: its ratio to itself is this machine's noise.
    #[arg(long)]
    noise: bool,
    /// Leave out the count on real Kafka.
    #[arg(long)]
    no_kafka: bool,
    /// Let cores that have nothing to do fall asleep; otherwise none does, where this may be asked for (it takes root).
    #[arg(long)]
    no_awake: bool,
    /// Let the kernel place all processes.
    #[arg(long)]
    no_pin: bool,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let effort = if flags.quick {
        Effort { rounds: 2, window_s: 1 }
    } else {
        Effort { rounds: usize::try_from(flags.rounds)?, window_s: flags.seconds }
    };
    let awake = if flags.no_awake {
        None
    } else {
        Awake::keep().inspect_err(|why| eprintln!("not awake: {why}")).ok()
    };
    let machine = Machine { awake: awake.is_some(), ..Machine::read(!flags.no_pin)? };
    let workbench = Workbench::find()?;
    workbench.build()?;
    let cores = Cores::split(!flags.no_pin)?;
    // Only to start programs: the generator has a loop of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bench = Bench { workbench, cores, runtime, effort, noise: flags.noise };
    let (floor, comparisons) = on(&cores.load, || Ok((bench.floor()?, bench.compare()?)))?;
    let count = if flags.no_kafka { None } else { Some(bench.count()?) };
    let ours = inputs::weir();
    let report = Report { machine, effort, ours, noise: flags.noise, floor, comparisons, count };
    report.print();
    report.write(&bench.workbench.output)?;
    match &report.count {
        Some(count) if !count.clean() => Err("events were lost, duplicated or not ours".into()),
        _ => Ok(()),
    }
}

struct Bench {
    workbench: Workbench,
    cores: Cores,
    runtime: Runtime,
    effort: Effort,
    noise: bool,
}

impl Bench {
    /// What a bare echo costs on each load.
    fn floor(&self) -> Result<BTreeMap<&'static str, f64>> {
        let mut floor = BTreeMap::new();
        for cell in &CELLS {
            let echo = self.on_its_core(self.workbench.echo(cell.shape))?;
            let pids = Pids { gateway: echo.pid(), sink: None };
            let (window, _) = measure(&plan(cell, echo.address, self.effort, 0), pids)?;
            floor.insert(cell.name, window.cpu_s_per_million);
        }
        Ok(floor)
    }

    /// Both gateways over one sink.
    fn compare(&self) -> Result<Vec<Comparison>> {
        let sink = Sink::start(&self.workbench, &["orders"])?;
        let ours = self.on_its_core(self.ours(&sink.bootstrap))?;
        let textbook = self.on_its_core(self.workbench.textbook(&sink.bootstrap))?;
        let side = |gateway: &Gateway| Side {
            address: gateway.address,
            pids: Pids { gateway: gateway.pid(), sink: Some(sink.pid()) },
        };
        compare(side(&ours), side(&textbook), self.effort, |line| eprintln!("{line}"))
    }

    /// Sends through ours into a Kafka of its own and counts what arrived.
    fn count(&self) -> Result<Count> {
        self.runtime.block_on(async {
            let kafka = Kafka::start(KafkaOptions::default()).await;
            for topic in ["orders", "orders.dead-letter"] {
                kafka.create_topic(topic, 6, &[]).await;
            }
            let ours = self.ours(kafka.bootstrap()).await?;
            let plan = Plan {
                target: ours.address,
                shape: Shape::Array,
                events_per_s: Some(COUNTED_PER_S),
                connections: 64,
                warm_up: Duration::ZERO,
                window: COUNTED_FOR,
                first_event: 0,
            };
            let sent = send(&plan)?;
            count(&sent, &kafka.records("orders").await)
        })
    }

    async fn ours(&self, bootstrap: &str) -> Result<Gateway> {
        if self.noise {
            self.workbench.textbook(bootstrap).await
        } else {
            self.workbench.ours(bootstrap).await
        }
    }

    /// Runs `start` with this thread on the gateway's core, so that the process it starts stays there.
    fn on_its_core(&self, start: impl Future<Output = Result<Gateway>>) -> Result<Gateway> {
        on(&self.cores.gateway, || self.runtime.block_on(start))
    }
}
