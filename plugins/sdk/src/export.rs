//! The macro that makes a type the plugin of its crate.

/// Makes a [`Plugin`](crate::Plugin) the plugin of this crate, under the crate's name and version; or, with
/// `world: enricher`, an [`Enricher`](crate::Enricher).
///
/// One per crate. It tells the host which world the plugin is for: `enricher` as said here, `key-extractor`
/// if keys are all it may set, else `filter`. On native targets it only checks that the type is of that sort.
///
/// ```
/// use weir_plugin::{Event, Patch, Plugin, Role, Verdict, export};
///
/// #[derive(serde::Deserialize)]
/// struct Nothing {}
///
/// impl Plugin for Nothing {
///     const ROLES: &[Role] = &[];
///
///     fn fields(&self) -> Vec<String> {
///         Vec::new()
///     }
///
///     fn process(&self, _: &Event<'_>, _: &mut Patch<'_>) -> Verdict {
///         Verdict::Pass
///     }
/// }
///
/// export!(Nothing);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        $crate::export_bound!($crate::bound::Pure<$plugin>);
    };
    ($plugin:ty, world: enricher) => {
        $crate::export_bound!($crate::bound::Knowing<$plugin>);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! export_bound {
    ($bound:ty) => {
        const _: &str = <$bound as $crate::bound::Bound>::WORLD;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::guest::{lifecycle, processor};

            struct Guest;

            thread_local! {
                static BOUND: ::std::cell::OnceCell<$bound> = const { ::std::cell::OnceCell::new() };
            }

            impl lifecycle::Guest for Guest {
                fn describe(config_json: String) -> Result<lifecycle::Info, lifecycle::Error> {
                    $crate::guest::describe::<$bound>(
                        env!("CARGO_PKG_NAME"),
                        env!("CARGO_PKG_VERSION"),
                        &config_json,
                    )
                }

                fn init(binding: lifecycle::Binding) -> Result<(), lifecycle::Error> {
                    let bound = $crate::guest::init(&binding)?;
                    BOUND.with(|cell| drop(cell.set(bound)));
                    Ok(())
                }

                fn health() -> Result<(), lifecycle::Error> {
                    BOUND.with(|cell| $crate::guest::health(cell.get()))
                }
            }

            impl processor::Guest for Guest {
                fn process(batch: processor::Batch) -> Result<processor::Output, processor::Error> {
                    BOUND.with(|cell| $crate::guest::process(cell.get(), &batch))
                }
            }

    $crate::bindings::export_base!(Guest with_types_in $crate::bindings);

            const PIECES: &[&str] = &$crate::section::pieces(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                <$bound as $crate::bound::Bound>::WORLD,
            );
            #[unsafe(link_section = "weir:plugin")]
            static DESCRIPTION: [u8; $crate::section::length(PIECES)] = $crate::section::joined(PIECES);
        };
    };
}
