//! Either sort of plugin with its config, as the gateway and native tests run it.

use crate::batch::{Columns, Event};
use crate::enricher::Enricher;
use crate::error::Error;
use crate::host::{Host, Lookup as _};
use crate::patch::{Answer, Patch};
use crate::plugin::{Plugin, Role, Verdict};
use crate::rows::{Answered, Known, Question, Wanted};

/// A plugin of either sort. What runs a `Pure` one must not so much as mention the host's tables or clock.
pub trait Bound: Sized + 'static {
    /// The tier of capabilities it is built for.
    const WORLD: &str;
    /// What it may do.
    const ROLES: &[Role];

    /// The plugin of a config, checked.
    fn configured(config_json: &str) -> Result<Self, Error>;

    /// Gets hold of what the host has for it.
    fn open(&mut self) -> Result<(), Error>;

    /// What it reads.
    fn fields(&self) -> Vec<String>;

    /// Whether it needs whole payloads.
    fn needs_payload(&self) -> bool;

    /// The most events of one batch.
    fn max_batch(&self) -> u32;

    /// A self-test.
    fn health(&self) -> Result<(), Error>;

    /// Judges a batch.
    fn judge(&self, columns: Columns<'_>) -> Result<Answer, Error>;
}

/// A plugin that knows nothing but the event.
#[derive(Debug)]
pub struct Pure<P>(P);

impl<P: Plugin> Bound for Pure<P> {
    const WORLD: &str = match P::ROLES {
        [Role::Key] => "key-extractor",
        _ => "filter",
    };
    const ROLES: &[Role] = P::ROLES;

    fn configured(config_json: &str) -> Result<Self, Error> {
        let plugin: P = read(config_json)?;
        plugin.check().map_err(|error| Error::bad_config(error.message))?;
        Ok(Pure(plugin))
    }

    fn open(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn fields(&self) -> Vec<String> {
        self.0.fields()
    }

    fn needs_payload(&self) -> bool {
        self.0.needs_payload()
    }

    fn max_batch(&self) -> u32 {
        self.0.max_batch()
    }

    fn health(&self) -> Result<(), Error> {
        self.0.health()
    }

    fn judge(&self, columns: Columns<'_>) -> Result<Answer, Error> {
        Ok(settle(columns.events(), |_, event, patch| self.0.process(event, patch)))
    }
}

/// A plugin that looks things up.
#[derive(Debug)]
pub struct Knowing<E> {
    enricher: E,
    tables: Vec<u32>,
}

impl<E: Enricher> Bound for Knowing<E> {
    const WORLD: &str = "enricher";
    const ROLES: &[Role] = E::ROLES;

    fn configured(config_json: &str) -> Result<Self, Error> {
        let enricher: E = read(config_json)?;
        enricher.check().map_err(|error| Error::bad_config(error.message))?;
        Ok(Knowing { enricher, tables: Vec::new() })
    }

    fn open(&mut self) -> Result<(), Error> {
        self.tables =
            self.enricher.tables().iter().map(|name| Host::table(name)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn fields(&self) -> Vec<String> {
        self.enricher.fields()
    }

    fn needs_payload(&self) -> bool {
        self.enricher.needs_payload()
    }

    fn max_batch(&self) -> u32 {
        self.enricher.max_batch()
    }

    fn health(&self) -> Result<(), Error> {
        self.enricher.health()
    }

    fn judge(&self, columns: Columns<'_>) -> Result<Answer, Error> {
        let answered = self.ask(columns)?;
        Ok(settle(columns.events(), |event_index, event, patch| {
            let known = Known { event: event_index, answered: &answered };
            self.enricher.process(event, &known, patch)
        }))
    }
}

impl<E: Enricher> Knowing<E> {
    /// One question per table, for all events.
    fn ask(&self, columns: Columns<'_>) -> Result<Vec<Answered>, Error> {
        let events = columns.times.len();
        let mut questions: Vec<_> = self.tables.iter().map(|&table| Question::new(table, events)).collect();
        for event in columns.events() {
            questions.iter_mut().for_each(Question::next_event);
            self.enricher.wants(&event, &mut Wanted { questions: &mut questions });
        }
        questions.into_iter().map(Question::ask).collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(config_json: &str) -> Result<T, Error> {
    serde_json::from_str(config_json).map_err(|error| Error::bad_config(error.to_string()))
}

/// Writes the verdicts on all events, each with its patch or its reason.
fn settle<'a>(
    events: impl ExactSizeIterator<Item = Event<'a>>,
    judge: impl Fn(usize, &Event<'a>, &mut Patch<'_>) -> Verdict,
) -> Answer {
    let mut answer = Answer::new(events.len());
    for (index, event) in (0..).zip(events) {
        let kept = answer.ops.len();
        let mut patch = Patch { event: index, answer: &mut answer };
        let (action, reason) = match judge(index as usize, &event, &mut patch) {
            Verdict::Pass => (0, None),
            Verdict::Drop(reason) => (1, Some(reason)),
            Verdict::Refuse(reason) => (2, Some(reason)),
            Verdict::DeadLetter(reason) => (3, Some(reason)),
            Verdict::Fail(reason) => (4, Some(reason)),
        };
        if let Some(reason) = reason {
            patch.answer.ops.truncate(kept);
            patch.reason(&reason);
        }
        if action != 0 {
            answer.actions[index as usize] = action;
        }
    }
    answer
}
