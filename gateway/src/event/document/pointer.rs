//! JSON pointers (RFC 6901), parsed once when the config is read and followed many times.

/// Pointers in answers are cut at this length.
const POINTER_BYTES_MAX: usize = 256;

/// A place in a JSON text. `""` is the whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    tokens: Vec<Token>,
}

/// One step: an object's key, or an array's index where it can be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) name: String,
    pub(crate) index: Option<usize>,
}

/// Why a text is no JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPointer {
    /// RFC 6901 pointers are empty or start with `/`.
    #[error("a JSON pointer is empty or starts with '/'")]
    NoSlash,
    /// `~` is the escape character and must be followed by `0` or `1`.
    #[error("in a JSON pointer '~' must be written '~0' and '/' in a name '~1'")]
    BadEscape,
}

impl Pointer {
    /// The pointer as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pointer to the container this one leads into; nothing for the whole text.
    pub fn parent(&self) -> Option<Pointer> {
        let (_, tokens) = self.tokens.split_last()?;
        let (text, _) = self.text.rsplit_once('/')?;
        Some(Pointer { text: text.to_owned(), tokens: tokens.to_vec() })
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }
}

impl std::str::FromStr for Pointer {
    type Err = BadPointer;

    fn from_str(text: &str) -> Result<Self, BadPointer> {
        let tokens = match text.strip_prefix('/') {
            None if text.is_empty() => Vec::new(),
            None => return Err(BadPointer::NoSlash),
            Some(rest) => rest.split('/').map(token).collect::<Result<_, _>>()?,
        };
        Ok(Pointer { text: text.to_owned(), tokens })
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn token(written: &str) -> Result<Token, BadPointer> {
    let escapes = written.matches('~').count();
    if escapes != written.matches("~0").count() + written.matches("~1").count() {
        return Err(BadPointer::BadEscape);
    }
    let name = written.replace("~1", "/").replace("~0", "~");
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let index = (digits && (name == "0" || !name.starts_with('0'))).then(|| name.parse().ok()).flatten();
    Ok(Token { name, index })
}

/// Appends `name` to a pointer's text, escaped.
pub(crate) fn push_escaped(pointer: &mut String, name: &str) {
    pointer.push('/');
    for character in name.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

/// A pointer as answers show it: to the deepest value whose pointer is short enough.
pub(crate) fn cut_pointer(mut pointer: String) -> String {
    while pointer.len() > POINTER_BYTES_MAX {
        pointer.truncate(pointer.rfind('/').unwrap_or(0));
    }
    pointer
}
