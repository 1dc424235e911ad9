//! The `email` format: addresses as most are written are decided in one pass over their bytes, the others by the
//! library, whose general check costs as much as the rest of a small schema.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// RFC 5321 §4.5.3.1: the longest local part and the longest label of a domain, in bytes.
const PART_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 63;
/// Longer domains are left to the library.
const DOMAIN_BYTES_MAX: usize = 200;

/// Whether a text is an address by the `email` format (JSON Schema 2020-12 validation §7.3.2).
pub(super) fn is_email(text: &str) -> bool {
    is_plain(text) || LIBRARY.is_valid(&Value::from(text))
}

static LIBRARY: LazyLock<Validator> = LazyLock::new(|| {
    let schema = json!({"format": "email"});
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema of one keyword")
});

/// Letters, digits, `.`, `_`, `+` and `-` before the `@`, and names of letters, digits and lone hyphens behind it.
/// It takes only what the library takes.
fn is_plain(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    local.len() <= PART_BYTES_MAX && domain.len() <= DOMAIN_BYTES_MAX && is_local(local) && is_domain(domain)
}

fn is_local(text: &str) -> bool {
    let mut before = b'.';
    for byte in text.bytes() {
        let fits = match byte {
            b'.' => before != b'.',
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-'),
        };
        if !fits {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

fn is_domain(text: &str) -> bool {
    let (mut before, mut label_bytes) = (b'.', 0);
    for byte in text.bytes() {
        let fits = match byte {
            b'.' | b'-' => before.is_ascii_alphanumeric(),
            b'0'..=b'9' => before != b'.',
            _ => byte.is_ascii_alphabetic(),
        };
        label_bytes = if byte == b'.' { 0 } else { label_bytes + 1 };
        if !fits || label_bytes > LABEL_BYTES_MAX {
            return false;
        }
        before = byte;
    }
    before.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_addresses_are_decided_here_and_odd_ones_by_the_library() {
        for plain in ["a@b.example", "first.last+tag@mail-1.example.com", "x_1@localhost"] {
            assert!(is_plain(plain) && LIBRARY.is_valid(&Value::from(plain)), "{plain}");
        }
        for odd in ["\"a b\"@example.com", "o'brien@example.com", "a@[127.0.0.1]", "a@xn--bcher-kva.example"]
        {
            assert!(!is_plain(odd) && is_email(odd), "{odd}");
        }
        for bad in [
            "", "a", "@b", "a@", "a@@b", "a@b@c", ".a@b", "a.@b", "a..b@c", "a@-b", "a@b-", "a@b..c", "a b@c",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
        let long =
            |local: usize, label: usize| format!("{}@{}.example", "a".repeat(local), "b".repeat(label));
        assert!(is_plain(&long(64, 63)) && !is_email(&long(65, 63)) && !is_email(&long(64, 64)));
    }

    proptest! {
        #[test]
        fn what_is_plain_is_an_address(text in "[a1._+-]{0,6}(@)?[A-Za0-9_.-]{0,9}") {
            prop_assert!(!is_plain(&text) || LIBRARY.is_valid(&Value::from(text)));
        }
    }
}
