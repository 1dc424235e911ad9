//! The load generator by hand: one plan against one address, its figures as JSON on stdout.
//! `bench` runs the same generator inside itself; this is for trying things.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use weir_tests::bench::load::{Moment, Plan, run};
use weir_tests::bench::payload::Shape;
use weir_tests::bench::{Result, cpu::Sample};

/// Sends order events to `/v1/events/orders` on a schedule and prints what came of it.
#[derive(Parser)]
struct Flags {
    /// The gateway's address.
    target: SocketAddr,
    /// One event per request, or arrays of 100.
    #[arg(long, value_enum, default_value = "single")]
    shape: Shape,
    /// Offered events per second; without it every connection is kept busy (saturation).
    #[arg(long)]
    rate: Option<u64>,
    /// Keep-alive connections, each with at most one request in flight.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// The measured window, after one second of warm-up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The number of the first event.
    #[arg(long, default_value_t = 0)]
    first_event: u64,
    /// Also print the CPU time of this process.
    #[arg(long)]
    pid: Option<u32>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let plan = Plan {
        target: flags.target,
        shape: flags.shape,
        events_per_s: flags.rate,
        connections: flags.connections,
        warm_up: Duration::from_secs(1),
        window: Duration::from_secs(flags.seconds),
        first_event: flags.first_event,
    };
    let mut samples = Vec::new();
    let tally = run(&plan, |_: Moment| {
        samples.extend(flags.pid.map(Sample::take).transpose()?);
        Ok(())
    })?;
    let spent = if let [begin, end] = &samples[..] { Some(end.since(begin)) } else { None };
    let ms = |quantile| tally.latency_us.value_at_quantile(quantile) as f64 / 1e3;
    let figures = serde_json::json!({
        "acked_per_s": tally.acked_events as f64 / tally.window_s,
        "backlog_requests": tally.backlog_requests,
        "statuses": tally.statuses,
        "latency_ms": { "p50": ms(0.5), "p99": ms(0.99), "p999": ms(0.999), "max": ms(1.0) },
        "cpu_s_per_million": spent.as_ref().map(|spent| spent.cpu_s / tally.acked_events as f64 * 1e6),
        "cpu": spent,
        "next_event": tally.next_event,
    });
    println!("{figures:#}");
    Ok(())
}
