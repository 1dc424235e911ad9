//! Hides in a config's text whatever stands where a secret would, before any of it is shown.
//!
//! Not the rule that refuses literal secrets (`secret`): this is for the text around a refusal.

/// The words after which a literal is probably a secret, written there against the rules.
const SECRET_KEYS: [&str; 9] =
    ["password", "key_password", "client_secret", "secret", "token", "pem", "key", "jaas", "sha256"];

/// The text with every literal masked that follows a secret's key; every byte keeps its place.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    // The indentation of a secret's key whose value goes on below it.
    let mut above: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start();
        let indentation = line.len() - content.len();
        let below = above.is_some_and(|above| content.is_empty() || indentation > above);
        let from = if below && !is_reference(content) {
            indentation
        } else {
            let found = literal(line);
            above = found.filter(|(_, open)| *open).map(|_| indentation);
            found.map_or(line.len(), |(start, _)| start)
        };
        let (clear, hidden) = line.split_at(from);
        masked.push_str(clear);
        masked.extend(
            hidden.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { byte as char } else { '*' }),
        );
    }
    masked
}

/// Where on this line a literal begins that follows a secret's key, and whether it goes on below.
fn literal(line: &str) -> Option<(usize, bool)> {
    line.match_indices(':').find_map(|(colon, _)| {
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?.trim());
        let name = name.trim_end().trim_end_matches(['"', '\'']);
        if !is_secret_key(name) || is_reference(value) {
            return None;
        }
        let open = value.is_empty() || value.starts_with(['|', '>', '#', '"', '\'']);
        Some((colon + 1, open))
    })
}

fn is_secret_key(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|key| {
        let boundary =
            |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
        name.strip_suffix(key).is_some_and(boundary)
    })
}

/// What names a secret's place, or (a route's `key:`) a place in an event, is no secret.
fn is_reference(value: &str) -> bool {
    ["{", "env:", "file:", "data:", "attr:", "header:"].iter().any(|prefix| value.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn secrets_are_masked_where_they_stand() {
        for (text, masked) in [
            ("password: hunter2\n", "password:********\n"),
            ("  sasl: {username: u, password: hunter2}\n", "  sasl: {username: u, password:*********\n"),
            ("\"sasl.password\": \"h\n", "\"sasl.password\":***\n"),
            (
                "a:\n  password: |\n    one\n\n    two\n  b: c\n",
                "a:\n  password:**\n    ***\n\n    ***\n  b: c\n",
            ),
            ("password:\n  env: X\nb: c\n", "password:\n  env: X\nb: c\n"),
            ("password: {env: X}\n", "password: {env: X}\n"),
            ("key: data:/repository/id\n", "key: data:/repository/id\n"),
            ("per_key: 64\n", "per_key: 64\n"),
            ("topic: orders\n", "topic: orders\n"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }
}
