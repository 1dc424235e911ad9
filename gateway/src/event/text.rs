//! Text as JSON, for the places where we write JSON by hand because it is on an event's path.

/// Appends a JSON string (RFC 8259 §7); most texts need no escape.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    // No early exit: without a branch per byte the compiler checks 32 at once.
    let plain =
        text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'));
    if plain {
        out.reserve(text.len() + 2);
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a Vec takes every write");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_when_they_must() {
        for text in ["", "plain", "q\"uote", "back\\slash", "line\nbreak", "é✓", "\u{1}", "\u{7f}"] {
            let mut out = Vec::new();
            push_json_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).expect("valid JSON"), text);
        }
    }
}
