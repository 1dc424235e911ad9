//! The macros that make a crate a plugin. They expand to nothing but the plugin itself on native targets.

/// Makes a [`Plugin`](crate::Plugin) the plugin of this crate, under the crate's name and version.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::guest::{lifecycle, processor};

            struct Guest;

            thread_local! {
                static PLUGIN: ::std::cell::OnceCell<$plugin> = const { ::std::cell::OnceCell::new() };
            }

            impl lifecycle::Guest for Guest {
                fn describe(config_json: String) -> Result<lifecycle::Info, lifecycle::Error> {
                    $crate::guest::describe::<$plugin>(
                        env!("CARGO_PKG_NAME"),
                        env!("CARGO_PKG_VERSION"),
                        &config_json,
                    )
                }

                fn init(binding: lifecycle::Binding) -> Result<(), lifecycle::Error> {
                    let plugin = $crate::guest::init(&binding)?;
                    PLUGIN.with(|cell| drop(cell.set(plugin)));
                    Ok(())
                }

                fn health() -> Result<(), lifecycle::Error> {
                    PLUGIN.with(|cell| $crate::guest::health(cell.get()))
                }
            }

            impl processor::Guest for Guest {
                fn process(batch: processor::Batch) -> Result<processor::Output, processor::Error> {
                    PLUGIN.with(|cell| $crate::guest::process(cell.get(), &batch))
                }
            }

            $crate::bindings::export_world!(Guest with_types_in $crate::bindings);

            $crate::describe_statically!();
        };
    };
}

/// The description that an operator reads without running the plugin.
#[doc(hidden)]
#[macro_export]
macro_rules! describe_statically {
    () => {
        const TEXT: &str = concat!(
            "{\"name\":\"",
            env!("CARGO_PKG_NAME"),
            "\",\"version\":\"",
            env!("CARGO_PKG_VERSION"),
            "\",\"sdk\":\"",
            $crate::sdk!(),
            "\",\"contract\":\"0.1.0\",\"world\":\"filter\"}"
        );
        #[unsafe(link_section = "weir:plugin")]
        static DESCRIPTION: [u8; TEXT.len()] = {
            let mut bytes = [0; TEXT.len()];
            let mut index = 0;
            while index < bytes.len() {
                bytes[index] = TEXT.as_bytes()[index];
                index += 1;
            }
            bytes
        };
    };
}

/// The SDK's name and version.
#[doc(hidden)]
#[macro_export]
macro_rules! sdk {
    () => {
        "weir-plugin 0.1.0"
    };
}

/// A whole key extractor: which fields it reads, and which of them is the partition key.
///
/// ```
/// weir_plugin::key_extractor! {
///     fields: ["data:/user/id", "data:/device"],
///     key: |event| event.field(0).or(event.field(1)),
/// }
/// # let ending = weir_plugin::testing::Case::new().text("data:/device", "d-1").run::<TheKey>("{}");
/// # assert_eq!(ending.partition_key(), Some("d-1"));
/// ```
#[macro_export]
macro_rules! key_extractor {
    (fields: [$($field:literal),* $(,)?], key: |$event:ident| $key:expr $(,)?) => {
        /// Finds the partition key.
        #[derive(Debug, $crate::serde::Deserialize)]
        #[serde(crate = "weir_plugin::serde", deny_unknown_fields)]
        pub struct TheKey {}

        impl $crate::Plugin for TheKey {
            const ROLES: &[$crate::Role] = &[$crate::Role::Key];

            fn fields(&self) -> Vec<String> {
                vec![$($field.to_owned()),*]
            }

            fn process(&self, $event: &$crate::Event<'_>, patch: &mut $crate::Patch<'_>) -> $crate::Verdict {
                if let Some(key) = $key {
                    patch.partition_key(key);
                }
                $crate::Verdict::Pass
            }
        }

        $crate::export!(TheKey);
    };
}
