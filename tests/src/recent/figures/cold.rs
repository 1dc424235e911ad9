//! A gateway starts with a million events in the window and an empty Valkey cluster: what it answers from its first
//! second on, whether every answer is right, how long it takes to be warm, and what that cost Valkey.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::asks::{ByKey, Dice, Keys, Level};
use super::stage::{Order, PATIENCE, ROUTE, Setup, Stage, Usage, lag, target};
use super::sums::{Latency, of_stream};
use super::traffic::{Asker, Sample, Stream, Traffic};
use super::wire::Answer;
use super::{Figure, settle};
use crate::bench::Result;
use crate::world::{Node, Weir, until};

const LIMIT: usize = 10;
const LEVELS: [(Level, &str); 3] =
    [(Level::Bounded, "bounded"), (Level::Token, "token"), (Level::Strong, "strong")];
/// A cold slot's lookups may wait for seconds each.
const CONNECTIONS: usize = 600;
const WARM_S_MAX: f64 = 60.0;

/// How much.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Events in the window.
    #[arg(long, default_value_t = 1_000_000)]
    pub events: usize,
    /// Their keys.
    #[arg(long, default_value_t = 50_000)]
    pub keys: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 12)]
    pub partitions: i32,
    /// Bytes of the data of one event.
    #[arg(long, default_value_t = 250)]
    pub data_bytes: usize,
    /// Lookups a second, a third of each level.
    #[arg(long, default_value_t = 300)]
    pub reads_per_s: u64,
    /// Gives Valkey a core whenever it wants one, which takes root. What a command takes is then what it takes Valkey, and
    /// is judged; how soon all is warm is not, for everybody else is held up. Without it the reverse: on two full cores
    /// each command may wait in the middle.
    #[arg(long)]
    pub valkey_first: bool,
}

/// What the topic holds: of each key the offsets and the times in ms, by rising offset.
type Log = Arc<Vec<Vec<(i64, i64)>>>;

/// One second since the start.
#[derive(Debug, Serialize)]
struct Second {
    second: u64,
    lookups: Latency,
    right: u64,
    wrong: u64,
}

/// What Valkey says of itself at the end.
#[derive(Debug, Serialize)]
struct Primary {
    address: String,
    /// `eval` and `evalsha`: calls and µs a call.
    scripts: Vec<(String, f64, f64)>,
    /// Commands that took more than 10 ms.
    slow: i64,
    used_memory_bytes: f64,
}

#[derive(Serialize)]
struct Behind {
    seconds: Vec<Second>,
    primaries: Vec<Primary>,
    /// Commands that took more than 10 ms, on any node.
    slow: Vec<String>,
    /// From when it listened until it had read all.
    usage: Usage,
}

/// Measures, prints, and fails if a figure is missed.
pub fn run(effort: &Effort) -> Result<()> {
    let stage = Stage::start(&Setup {
        partitions: effort.partitions,
        partition_bytes_max: 256 << 20,
        order: if effort.valkey_first { Order::ValkeyFirst } else { Order::Kernel },
    })?;
    let keys = Keys::new(effort.keys, effort.partitions);
    let begun = Instant::now();
    let log = Arc::new(produce(effort, &stage.kafka.client_config(), &keys)?);
    eprintln!("{} events produced in {:?}", effort.events, begun.elapsed());
    let started = Instant::now();
    let weir = stage.launch()?;
    let address = target(&weir)?.address;
    stage.runtime.block_on(until("the gateway listens", PATIENCE, async || {
        weir.process().assert_running();
        tokio::net::TcpStream::connect(address).await.ok()
    }));
    let listens = started.elapsed();
    let whole = Arc::new(AtomicU64::new(0));
    let stream = |(level, _)| {
        let (ask, log, whole) = (ByKey::new(&keys, level, LIMIT), Arc::clone(&log), Arc::clone(&whole));
        let asker = Checked { ask, log, whole, found: Vec::new() };
        Stream::new(asker, effort.reads_per_s / 3, CONNECTIONS)
    };
    let traffic = Traffic::start(vec![target(&weir)?], LEVELS.map(stream).into(), stage.seat);
    let begin = stage.readings(&[&weir])?;
    let (ready, caught_up) = stage.runtime.block_on(warm(&weir, started));
    let usage = begin.until(&stage.readings(&[&weir])?);
    // The tenth second is part of it, however soon it is warm.
    super::traffic::span((started + Duration::from_secs(12)).saturating_duration_since(Instant::now()));
    let samples = traffic.end()?;
    let (primaries, slow) = stage.runtime.block_on(primaries(stage.valkey.nodes()))?;
    let behind = Behind { seconds: seconds(started, &samples), primaries, slow, usage };
    report(effort, &samples, (listens, ready, caught_up), whole.load(Ordering::Relaxed), &behind)
}

/// Waits until the gateway says it is ready, which it does after a minute at the latest, and until it has read all.
async fn warm(weir: &Weir, started: Instant) -> (Duration, Duration) {
    until("the gateway is ready", PATIENCE, async || {
        weir.process().assert_running();
        let ready = reqwest::get(weir.admin_url("/readyz")).await;
        ready.ok().filter(|answer| answer.status() == 200)
    })
    .await;
    let ready = started.elapsed();
    // Not earlier: where everything stands is asked of Valkey, which has enough to do.
    until("the gateway has read all", Duration::from_secs(300), async || {
        lag(weir).await.filter(|lag| *lag == 0)
    })
    .await;
    (ready, started.elapsed())
}

/// Produces all events, each key's in its partition, and gives what the topic then holds.
fn produce(effort: &Effort, kafka: &ClientConfig, keys: &Keys) -> Result<Vec<Vec<(i64, i64)>>> {
    let mut config = kafka.clone();
    // Idempotent: what was handed over in order is in the topic in that order, once.
    config.set("enable.idempotence", "true").set("linger.ms", "20").set("batch.size", "500000");
    config.set("queue.buffering.max.messages", "100000");
    let producer: BaseProducer = config.create()?;
    let mut next = vec![0; usize::try_from(effort.partitions)?];
    let mut log = vec![Vec::new(); keys.len()];
    let mut dice = Dice::new(7);
    let data = data(effort.data_bytes);
    for number in 0..effort.events {
        // Each key has some, whatever the dice say.
        let key = if number < keys.len() { number } else { dice.below(keys.len()) };
        let partition = keys.partition(key);
        let time_ms = Timestamp::now().as_millisecond();
        send(&producer, (partition, keys.text(key), number), time_ms, &data)?;
        let offset = &mut next[usize::try_from(partition)?];
        keys.stored(key, partition, *offset);
        log[key].push((*offset, time_ms));
        *offset += 1;
    }
    producer.flush(PATIENCE)?;
    for (partition, end) in next.into_iter().enumerate() {
        let partition = i32::try_from(partition)?;
        let (low, high) = producer.client().fetch_watermarks(ROUTE, partition, PATIENCE)?;
        if (low, high) != (0, end) {
            return Err(format!("partition {partition} holds {low}..{high}, not 0..{end}").into());
        }
    }
    Ok(log)
}

fn send(
    producer: &BaseProducer,
    (partition, key, number): (i32, &str, usize),
    time_ms: i64,
    data: &str,
) -> Result<()> {
    let id = format!("e-{number:012}");
    let text = |key, value| Header { key, value: Some(value) };
    let headers = OwnedHeaders::new_with_capacity(5)
        .insert(text("ce_specversion", "1.0"))
        .insert(text("ce_id", id.as_str()))
        .insert(text("ce_source", "/shop"))
        .insert(text("ce_type", "order.created"))
        .insert(text("content-type", "application/json"));
    let mut record = BaseRecord::to(ROUTE).partition(partition).key(key).payload(data).headers(headers);
    record = record.timestamp(time_ms);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                producer.poll(Duration::from_millis(10));
                record = refused;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

fn data(bytes: usize) -> String {
    format!(r#"{{"note":"{}"}}"#, "x".repeat(bytes.saturating_sub(11)))
}

/// Lookups by key whose answers are compared with the log, event by event.
struct Checked {
    ask: ByKey,
    log: Log,
    /// Answers with all that was asked for.
    whole: Arc<AtomicU64>,
    /// Where the events of an answer are put; kept for its memory.
    found: Vec<i64>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    events: Vec<Found<'a>>,
    as_of: AsOf,
    truncated: bool,
    complete_since: &'a str,
}

#[derive(Deserialize)]
struct Found<'a> {
    key: &'a str,
    partition: i32,
    offset: i64,
}

#[derive(Deserialize)]
struct AsOf {
    partition: i32,
    offset: i64,
}

impl Asker for Checked {
    fn ask(&mut self, into: &mut Vec<u8>) -> u32 {
        self.ask.ask(into)
    }

    fn check(&mut self, tag: u32, answer: Answer<'_>) -> bool {
        let key = tag as usize;
        match answer.status {
            // Nothing is written meanwhile: every level must show all of it, or say since when it is complete.
            200 => serde_json::from_slice(answer.body).is_ok_and(|page: Page<'_>| {
                let expected = || self.log[key].iter().rev().take(LIMIT);
                self.found.clear();
                self.found.extend(page.events.iter().map(|event| event.offset));
                let (text, partition) = (self.ask.keys.text(key), self.ask.keys.partition(key));
                let since_ms = page.complete_since.parse().map_or(0, Timestamp::as_millisecond);
                let owned_up = |(_, time_ms): &&(i64, i64)| page.truncated && *time_ms < since_ms;
                let whole = self.found.len() == expected().count();
                self.whole.fetch_add(u64::from(whole), Ordering::Relaxed);
                self.found.iter().eq(expected().map(|(offset, _)| offset).take(self.found.len()))
                    && expected().skip(self.found.len()).all(|it| owned_up(&it))
                    && page.events.iter().all(|event| (event.key, event.partition) == (text, partition))
                    && page.as_of.partition == partition
                    && page.as_of.offset >= self.ask.keys.newest(key)
            }),
            // "Not yet" is an answer, too.
            503 => true,
            _ => false,
        }
    }
}

fn seconds(started: Instant, samples: &[Sample]) -> Vec<Second> {
    let last = samples.iter().map(|sample| (sample.due - started).as_secs()).max().unwrap_or(0);
    let second = |second| {
        let begin = started + Duration::from_secs(second);
        let span = begin..begin + Duration::from_secs(1);
        let of = || (0..3).flat_map(|stream| of_stream(samples, stream, &span));
        let right = of().filter(|sample| sample.status == 200 && sample.right).count() as u64;
        let wrong = of().filter(|sample| !sample.right).count() as u64;
        Second { second, lookups: Latency::of(of()), right, wrong }
    };
    (0..=last).map(second).collect()
}

/// What the primaries say of scripts and memory, and every node's slow commands.
async fn primaries(nodes: &[Node]) -> Result<(Vec<Primary>, Vec<String>)> {
    let (mut primaries, mut slow) = (Vec::new(), Vec::new());
    for node in nodes {
        let info = async |section| Ok::<_, std::io::Error>(node.call(&["INFO", section]).await?.text());
        let is_primary = info("replication").await?.lines().any(|line| line == "role:master");
        let log = node.call(&["SLOWLOG", "GET", "128"]).await?;
        for entry in log.items() {
            let [_, _, crate::world::Reply::Integer(us), command, ..] = entry.items() else { continue };
            let words: Vec<String> = command.items().iter().take(2).map(crate::world::Reply::text).collect();
            slow.push(format!("{} {us} us: {}", node.address(), words.join(" ")));
        }
        if !is_primary {
            continue;
        }
        let stats = info("commandstats").await?;
        let field = |line: &str, name: &str| {
            line.split([':', ',']).find_map(|part| part.strip_prefix(name)?.parse::<f64>().ok())
        };
        let script = |line: &str| {
            let name = line.strip_prefix("cmdstat_")?.split(':').next()?;
            let (calls, us) = (field(line, "calls=")?, field(line, "usec_per_call=")?);
            matches!(name, "eval" | "evalsha").then(|| (name.to_owned(), calls, us))
        };
        let memory = info("memory").await?;
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.parse().ok());
        primaries.push(Primary {
            address: node.address().to_owned(),
            scripts: stats.lines().filter_map(script).collect(),
            slow: i64::try_from(log.items().len())?,
            used_memory_bytes: used.unwrap_or(f64::NAN),
        });
    }
    Ok((primaries, slow))
}

fn report(
    effort: &Effort,
    samples: &[Sample],
    (listens, ready, caught_up): (Duration, Duration, Duration),
    whole: u64,
    behind: &Behind,
) -> Result<()> {
    let Behind { seconds, primaries, slow, .. } = behind;
    let (warm_s_max, slow_max) =
        if effort.valkey_first { (f64::INFINITY, 0.0) } else { (WARM_S_MAX, f64::INFINITY) };
    let tenth = seconds.iter().find(|second| second.second == 9);
    let share = tenth.map_or(f64::NAN, |tenth| tenth.lookups.answered_well());
    let first_half = seconds
        .iter()
        .find(|second| second.lookups.answered_well() >= 0.5)
        .map_or(f64::NAN, |second| second.second as f64 + 1.0);
    let of = |status: u16| samples.iter().filter(|sample| sample.status == status).count() as f64;
    let wrong = samples.iter().filter(|sample| !sample.right || sample.status == 0).count();
    let mut figures = vec![
        Figure::new("lookups", samples.len() as f64),
        Figure::new(
            "  answered 200, and right",
            of(200) - samples.iter().filter(|it| !it.right).count() as f64,
        ),
        Figure::new("  whole: the others say since when they are complete", whole as f64),
        Figure::new("  answered 503", of(503)),
        Figure::new("  wrong, or answered anything else", wrong as f64).at_most(0.0),
        Figure::new("answered 200 in the 10th second (share)", share).at_least(0.5),
        Figure::new("the first second with half of them answered 200", first_half),
        Figure::new("listens after, s", listens.as_secs_f64()),
        Figure::new("ready (/readyz) after, s", ready.as_secs_f64()).at_most(warm_s_max),
        Figure::new("has read all of it after, s", caught_up.as_secs_f64()).at_most(warm_s_max),
    ];
    for (stream, (_, name)) in (0..).zip(LEVELS) {
        let of: Vec<Sample> = samples.iter().filter(|sample| sample.stream == stream).copied().collect();
        figures.push(Figure::new(
            format!("{name}: answered 200 (share)"),
            Latency::of(of.iter()).answered_well(),
        ));
    }
    for primary in primaries {
        for (script, calls, us) in &primary.scripts {
            let name = format!("{} {script} ({calls} calls), ms a call", primary.address);
            figures.push(Figure::new(name, us / 1e3).at_most(1.0));
        }
        figures.push(Figure::new(
            format!("{} memory, MiB", primary.address),
            primary.used_memory_bytes / 1048576.0,
        ));
    }
    figures.push(Figure::new("commands that took Valkey over 10 ms", slow.len() as f64).at_most(slow_max));
    for second in seconds.iter().take(60) {
        eprintln!(
            "second {:>2}: {:>4} lookups, {:>4} right, {} wrong, P99 {:.0} ms, {:?}",
            second.second + 1,
            second.lookups.requests,
            second.right,
            second.wrong,
            second.lookups.p99_ms,
            second.lookups.statuses
        );
    }
    slow.iter().take(10).for_each(|line| eprintln!("slow: {line}"));
    settle(if effort.valkey_first { "cold-valkey-first" } else { "cold" }, effort, &figures, &json!(behind))
}
