//! One event, built field by field, and the columns of several.

use super::ending::Ending;
use super::world::World;
use crate::batch::{ABSENT, Columns};
use crate::bound::Bound;
use crate::plugin::Plugin;

/// One event to be judged.
///
/// ```
/// use weir_plugin::testing::Case;
///
/// let order = Case::new().text("attr:type", "order").json("data:/total", "12.50").payload(b"{}").time_ns(1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Case {
    fields: Vec<(String, u8, Vec<u8>)>,
    payload: Vec<u8>,
    time_ns: u64,
}

impl Case {
    /// An event without anything.
    pub fn new() -> Self {
        Case::default()
    }

    /// A string under a selector, e.g. `data:/user/id`.
    pub fn text(self, selector: &str, text: &str) -> Self {
        self.field(selector, 1, text)
    }

    /// Any JSON value under a selector; numbers keep their text.
    ///
    /// # Panics
    /// If it begins like a string and is none.
    pub fn json(self, selector: &str, json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(json).expect("the test gives a JSON string");
                self.field(selector, 1, &text)
            }
            Some(b't' | b'f') => self.field(selector, 4, json),
            Some(b'n') => self.field(selector, 5, json),
            Some(b'[') => self.field(selector, 6, json),
            Some(b'{') => self.field(selector, 7, json),
            _ if json.contains(['.', 'e', 'E']) => self.field(selector, 3, json),
            _ => self.field(selector, 2, json),
        }
    }

    /// The whole payload.
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        bytes.clone_into(&mut self.payload);
        self
    }

    /// The receive time, in nanoseconds since 1970.
    pub fn time_ns(mut self, time_ns: u64) -> Self {
        self.time_ns = time_ns;
        self
    }

    /// Lets a plugin with this config (JSON) judge the event. For an enricher, several events or what was
    /// logged, there is [`World`].
    ///
    /// # Panics
    /// If the plugin refuses the config.
    pub fn run<P: Plugin>(&self, config_json: &str) -> Ending {
        World::new().run::<P>(config_json, std::slice::from_ref(self)).remove(0)
    }

    fn field(mut self, selector: &str, kind: u8, bytes: &str) -> Self {
        self.fields.push((selector.to_owned(), kind, bytes.as_bytes().to_vec()));
        self
    }
}

/// The columns of a batch, owned.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) arena: Vec<u8>,
    spans: Vec<[u32; 2]>,
    kinds: Vec<u8>,
    times: Vec<u64>,
    stride: usize,
}

impl Batch {
    /// These events, as the host would hand them to this plugin.
    pub(super) fn of<B: Bound>(cases: &[Case], bound: &B) -> Self {
        let selectors = bound.fields();
        let mut batch = Batch { stride: 1 + selectors.len(), ..Batch::default() };
        for case in cases {
            batch.times.push(case.time_ns);
            batch.put(bound.needs_payload().then_some((8, case.payload.as_slice())));
            for selector in &selectors {
                let field = case.fields.iter().find(|(known, ..)| known == selector);
                batch.put(field.map(|(_, kind, bytes)| (*kind, bytes.as_slice())));
            }
        }
        batch
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        let Batch { arena, spans, kinds, times, stride } = self;
        Columns { arena, spans, kinds, stride: *stride, times }
    }

    fn put(&mut self, found: Option<(u8, &[u8])>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a test's events are small");
        let (kind, bytes) = found.unwrap_or((0, &[]));
        let offset = if found.is_some() { length(&self.arena) } else { ABSENT };
        self.spans.push([offset, length(bytes)]);
        self.kinds.push(kind);
        self.arena.extend_from_slice(bytes);
    }
}
