//! The short forms: a whole plugin without a config, in one macro.

/// A whole key extractor: which fields it reads, which of them is the partition key and, if lookups shall find
/// the event by other keys too, which ones.
///
/// An event whose `key` is `None` has no partition key. [`Event::entity`](crate::Event::entity) leaves out what
/// cannot be a key: an empty string would fail the batch, and `null` is nobody's name.
///
/// ```
/// weir_plugin::key_extractor! {
///     fields: ["data:/user/id", "data:/order/id"],
///     key: |event| event.entity(0).or(event.entity(1)),
///     lookup: [("user", |event| event.entity(0)), ("order", |event| event.entity(1))],
/// }
/// # use weir_plugin::testing::{Case, Op};
/// # let ending = Case::new().json("data:/user/id", "null").text("data:/order/id", "o-1").run::<TheKey>("{}");
/// # assert_eq!(ending.partition_key(), Some("o-1"));
/// # assert_eq!(ending.ops[1..], [Op::AddLookupKey("order".into(), "o-1".into())]);
/// ```
///
/// The partition key is no lookup key by itself: list it, lest a lookup of orders miss those that are keyed by
/// their order.
#[macro_export]
macro_rules! key_extractor {
    (
        fields: [$($field:expr),* $(,)?],
        key: |$event:pat_param| $key:expr
        $(, lookup: [$(($kind:expr, |$found_in:pat_param| $found:expr)),* $(,)?])? $(,)?
    ) => {
        /// Finds the partition key.
        #[derive(Debug, $crate::serde::Deserialize)]
        #[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
        pub struct TheKey {}

        impl $crate::Plugin for TheKey {
            const ROLES: &[$crate::Role] = &[$crate::Role::Key];

            fn fields(&self) -> Vec<String> {
                vec![$(String::from($field)),*]
            }

            // One call site, for each event: a fifth of what a batch costs is in the call.
            #[inline(always)]
            fn process(&self, event: &$crate::Event<'_>, patch: &mut $crate::Patch<'_>) -> $crate::Verdict {
                let $event = event;
                if let Some(key) = $key {
                    patch.partition_key(key);
                }
                $($(
                    let $found_in = event;
                    if let Some(key) = $found {
                        patch.lookup_key($kind, key);
                    }
                )*)?
                $crate::Verdict::Pass
            }
        }

        $crate::export!(TheKey);
    };
}

/// A whole filter: which fields it reads, and its verdict on an event.
///
/// ```
/// use weir_plugin::Verdict;
///
/// weir_plugin::filter! {
///     fields: ["data:/test"],
///     verdict: |event| match event.field(0).and_then(|test| test.as_bool()) {
///         Some(true) => Verdict::Drop("test traffic".into()),
///         _ => Verdict::Pass,
///     },
/// }
/// # use weir_plugin::testing::Case;
/// # let verdict = |test| Case::new().json("data:/test", test).run::<TheFilter>("{}").verdict;
/// # assert_eq!(verdict("true"), Verdict::Drop("test traffic".into()));
/// # assert_eq!(verdict("false"), Verdict::Pass);
/// ```
#[macro_export]
macro_rules! filter {
    (
        fields: [$($field:expr),* $(,)?],
        verdict: |$event:pat_param| $verdict:expr $(,)?
    ) => {
        /// Decides whether an event goes on.
        #[derive(Debug, $crate::serde::Deserialize)]
        #[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
        pub struct TheFilter {}

        impl $crate::Plugin for TheFilter {
            const ROLES: &[$crate::Role] = &[$crate::Role::Filter];

            fn fields(&self) -> Vec<String> {
                vec![$(String::from($field)),*]
            }

            #[inline(always)]
            fn process(&self, $event: &$crate::Event<'_>, _: &mut $crate::Patch<'_>) -> $crate::Verdict {
                $verdict
            }
        }

        $crate::export!(TheFilter);
    };
}

/// A whole enricher: which fields it reads, which row of which table it wants for an event, and what it makes of
/// it. Rows are found by their place in the list.
///
/// ```
/// weir_plugin::enricher! {
///     fields: ["data:/country"],
///     rows: [("regions", |event| event.entity(0))],
///     enrich: |_, known, patch| if let Some(region) = known.row(0) {
///         patch.set_header("x-region", region);
///     },
/// }
/// # use weir_plugin::testing::{Case, Op, World};
/// # let world = World::new().table("regions", &[("CZ", "eu")]);
/// # let endings = world.enrich::<TheEnricher>("{}", &[Case::new().text("data:/country", "CZ")]);
/// # assert_eq!(endings[0].ops, [Op::SetHeader("x-region".into(), "eu".into())]);
/// ```
#[macro_export]
macro_rules! enricher {
    (
        fields: [$($field:expr),* $(,)?],
        rows: [$(($table:expr, |$wanting:pat_param| $row_key:expr)),* $(,)?],
        enrich: |$event:pat_param, $known:pat_param, $patch:pat_param| $enrich:expr $(,)?
    ) => {
        /// Adds what it knows to an event.
        #[derive(Debug, $crate::serde::Deserialize)]
        #[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
        pub struct TheEnricher {}

        impl $crate::Enricher for TheEnricher {
            fn fields(&self) -> Vec<String> {
                vec![$(String::from($field)),*]
            }

            fn tables(&self) -> Vec<String> {
                vec![$(String::from($table)),*]
            }

            fn wants(&self, event: &$crate::Event<'_>, wanted: &mut $crate::Wanted<'_>) {
                let mut places = 0_usize..;
                $(
                    let $wanting = event;
                    if let (Some(place), Some(key)) = (places.next(), $row_key) {
                        wanted.row(place, key);
                    }
                )*
            }

            fn process(
                &self,
                $event: &$crate::Event<'_>,
                $known: &$crate::Known<'_>,
                $patch: &mut $crate::Patch<'_>,
            ) -> $crate::Verdict {
                $enrich;
                $crate::Verdict::Pass
            }
        }

        $crate::export!(TheEnricher, world: enricher);
    };
}
