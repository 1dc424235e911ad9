//! The section `weir:plugin`: what a file says of itself, so that an operator can read it without running it.

/// The SDK's name and version.
pub const SDK: &str = concat!("weir-plugin ", env!("CARGO_PKG_VERSION"));

/// The description, in pieces. None of them needs escaping: cargo keeps quotes out of names and versions.
pub const fn pieces(name: &'static str, version: &'static str, world: &'static str) -> [&'static str; 9] {
    [
        r#"{"name":""#,
        name,
        r#"","version":""#,
        version,
        r#"","sdk":""#,
        SDK,
        r#"","contract":"0.1.0","world":""#,
        world,
        r#""}"#,
    ]
}

/// The bytes of all pieces together.
pub const fn length(pieces: &[&str]) -> usize {
    let (mut sum, mut index) = (0, 0);
    while index < pieces.len() {
        sum += pieces[index].len();
        index += 1;
    }
    sum
}

/// The pieces in one, `N` being their [`length`].
pub const fn joined<const N: usize>(pieces: &[&str]) -> [u8; N] {
    let (mut bytes, mut at, mut index) = ([0; N], 0, 0);
    while index < pieces.len() {
        let (_, rest) = bytes.split_at_mut(at);
        let (place, _) = rest.split_at_mut(pieces[index].len());
        place.copy_from_slice(pieces[index].as_bytes());
        at += pieces[index].len();
        index += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{joined, length, pieces};

    #[test]
    fn the_description_is_json_with_the_world_in_it() {
        const PIECES: &[&str] = &pieces("geo", "1.2.3", "enricher");
        static BYTES: [u8; length(PIECES)] = joined(PIECES);
        let said: serde_json::Value = serde_json::from_slice(&BYTES).expect("is JSON");
        assert_eq!(said["name"], "geo");
        assert_eq!(said["version"], "1.2.3");
        assert_eq!(said["world"], "enricher");
        assert!(said["sdk"].as_str().is_some_and(|sdk| sdk.starts_with("weir-plugin ")));
    }
}
