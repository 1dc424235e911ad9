//! A plugin that commits the sin its config names, when an event says so: what the host must survive.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_plugin::log::{self, Level};
use weir_plugin::metrics::Counter;
use weir_plugin::{Error, Event, Patch, Plugin, Role, Verdict, export};

/// Which sin, and in which call.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rogue {
    sin: Sin,
    /// `check` (both `describe` and `init`) or `process`.
    #[serde(default)]
    during: During,
    /// Declared to the host, for what it refuses at load.
    #[serde(default)]
    fields: Vec<String>,
    /// Where an event says that it is to be sinned against; absent: at `data:/sin`.
    #[serde(default)]
    sign: Option<Sign>,
}

/// A field, and the text in it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    field: String,
    text: String,
}

#[derive(Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum During {
    Check,
    #[default]
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sin {
    None,
    Spin,
    Fill,
    Bloat,
    Crawl,
    Hoard,
    Remember,
    EditNowhere,
    Recurse,
    Panic,
    SpanOutside,
    SpanWraps,
    SpanInBatch,
    BadUtf8,
    OpFlood,
    OpForNobody,
    OpUnknown,
    OutputFlood,
    LogFlood,
    MetricFlood,
    GatewayHeader,
    ForeignTopic,
    BadPointer,
    EmptyKey,
    LongKey,
    LongReason,
}

impl Plugin for Rogue {
    const ROLES: &[Role] = &[Role::Key, Role::Enrich, Role::Filter];

    fn fields(&self) -> Vec<String> {
        let sinful = self.sign.as_ref().map_or("data:/sin", |sign| &sign.field);
        std::iter::once(sinful.to_owned()).chain(self.fields.iter().cloned()).collect()
    }

    fn check(&self) -> Result<(), Error> {
        if self.during == During::Check {
            self.break_down();
        }
        Ok(())
    }

    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
        let sinful = match (event.field(0), &self.sign) {
            (Some(field), Some(sign)) => field.text() == Some(&sign.text),
            (field, _) => field.is_some(),
        };
        if !sinful {
            patch.lookup_key("good", "yes");
            return Verdict::Pass;
        }
        self.break_down();
        self.answer(patch)
    }
}

impl Rogue {
    /// Sins that end the call, if the host does its work.
    fn break_down(&self) {
        match self.sin {
            Sin::Spin => loop {
                std::hint::black_box(0);
            },
            Sin::Fill => {
                let mut memory = vec![0_u8; 4 << 20];
                loop {
                    memory.fill(std::hint::black_box(1));
                    std::hint::black_box(&memory);
                }
            }
            Sin::Bloat => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            Sin::Recurse => drop(std::hint::black_box(recurse(u64::MAX))),
            // Milliseconds, and an end.
            Sin::Crawl => {
                (0..4_000_000_u32).for_each(|step| {
                    std::hint::black_box(step);
                });
            }
            Sin::Panic => {
                let nothing: Option<u8> = std::hint::black_box(None);
                nothing.expect("the rogue panics on purpose");
            }
            _ => {}
        }
    }

    /// Sins that are in the answer.
    fn answer(&self, patch: &mut Patch<'_>) -> Verdict {
        const IN_BATCH: u32 = 1 << 31;
        match self.sin {
            Sin::SpanOutside => patch.raw([0, 1, 0, 0, 1 << 20, 4]),
            Sin::SpanWraps => patch.raw([0, 1, 0, 0, u32::MAX, u32::MAX]),
            Sin::SpanInBatch => patch.raw([0, 1 | IN_BATCH, 0, 0, 0, 1 << 16]),
            Sin::BadUtf8 => patch.partition_key(&[0xff, 0xfe][..]),
            Sin::OpFlood => (0..100).for_each(|_| patch.json_remove("/a")),
            Sin::OpForNobody => patch.raw([7, 6, 0, 0, 0, 0]),
            Sin::OpUnknown => {
                Counter::new("unheard").add(1);
                patch.raw([0, 77, 0, 0, 0, 0]);
            }
            Sin::OutputFlood => patch.replace_payload(vec![b' '; 1 << 20].as_slice()),
            Sin::LogFlood => (0..1000).for_each(|_| log::write(Level::Info, &"x".repeat(5_000))),
            Sin::MetricFlood => (0..1000).for_each(|name| Counter::new(&format!("name_{name}")).add(1)),
            Sin::GatewayHeader => patch.set_header("weir-route", "mine"),
            Sin::ForeignTopic => patch.topic("not-allowed"),
            Sin::BadPointer => patch.json_remove("no/slash"),
            Sin::EmptyKey => patch.partition_key(""),
            Sin::LongKey => patch.partition_key("k".repeat(513).as_str()),
            // Not all at once, as `Bloat` does.
            Sin::Hoard => std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20])),
            Sin::EditNowhere => patch.json_set("/n/below/a/number", "1"),
            // Another answer for each event, whichever it is.
            Sin::Remember => {
                static SEEN: AtomicU64 = AtomicU64::new(0);
                patch.set_header("seen", &*SEEN.fetch_add(1, Ordering::Relaxed).to_string());
            }
            Sin::LongReason => return Verdict::Drop("ä".repeat(200).into()),
            Sin::None | Sin::Spin | Sin::Fill | Sin::Bloat | Sin::Crawl | Sin::Recurse | Sin::Panic => {}
        }
        Verdict::Pass
    }
}

/// Not in tail position, so it takes stack.
#[expect(unconditional_recursion, reason = "this is the sin")]
fn recurse(depth: u64) -> u64 {
    let below = recurse(std::hint::black_box(depth - 1));
    std::hint::black_box(below) + 1
}

export!(Rogue);
