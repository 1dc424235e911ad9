//! One value of an event, and what it can be read as. Nothing here allocates, but for what
//! [`Field::json`] builds.

use std::str;

use serde::Deserialize;
use serde::de::value::BorrowedStrDeserializer;

use crate::error::Error;

/// What a field's bytes are; the numbers are those of the contract (`wit/README.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A string, unescaped. Attributes and headers are always strings.
    Text,
    /// An integer's digits, as sent.
    Integer,
    /// A number with a fraction or an exponent, as sent.
    Float,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// The source text of an array.
    Array,
    /// The source text of an object.
    Object,
    /// Bytes: a payload, or a kind of a later contract.
    Bytes,
}

impl Kind {
    #[inline(always)]
    pub(crate) fn of(number: u8) -> Kind {
        match number {
            1 => Kind::Text,
            2 => Kind::Integer,
            3 => Kind::Float,
            4 => Kind::Bool,
            5 => Kind::Null,
            6 => Kind::Array,
            7 => Kind::Object,
            _ => Kind::Bytes,
        }
    }
}

/// One value of an event. The `as_…` methods give it as one type, or `None` if it is of another: `"5"` is a
/// string and no integer.
///
/// ```
/// use weir_plugin::{Plugin, Role, Verdict, Event, Patch, testing::Case};
///
/// #[derive(serde::Deserialize)]
/// struct Large {}
///
/// impl Plugin for Large {
///     const ROLES: &[Role] = &[Role::Filter];
///
///     fn fields(&self) -> Vec<String> {
///         vec!["data:/count".to_owned()]
///     }
///
///     fn process(&self, event: &Event<'_>, _: &mut Patch<'_>) -> Verdict {
///         match event.field(0).and_then(|count| count.as_u64()) {
///             Some(10..) => Verdict::Pass,
///             Some(_) => Verdict::Drop("small".into()),
///             None => Verdict::Refuse("`count` is not a count".into()),
///         }
///     }
/// }
///
/// let verdict = |count| Case::new().json("data:/count", count).run::<Large>("{}").verdict;
/// assert_eq!(verdict("10"), Verdict::Pass);
/// assert_eq!(verdict("9"), Verdict::Drop("small".into()));
/// assert_eq!(verdict(r#""10""#), Verdict::Refuse("`count` is not a count".into()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: u32,
    pub(crate) kind: Kind,
}

impl<'a> Field<'a> {
    /// What it is: `5` and `"5"` have the same text and different kinds.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Its bytes; see [`Kind`] for what they are.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// A string's characters, or the source text of anything else; `None` if it is not UTF-8.
    pub fn text(self) -> Option<&'a str> {
        str::from_utf8(self.bytes).ok()
    }

    /// A string's characters; `None` for anything else.
    pub fn as_str(self) -> Option<&'a str> {
        self.text_of(Kind::Text)
    }

    /// An integer from −2⁶³ to 2⁶³ − 1; `None` for anything else, `5.0` included.
    pub fn as_i64(self) -> Option<i64> {
        self.text_of(Kind::Integer)?.parse().ok()
    }

    /// An integer from 0 to 2⁶⁴ − 1; `None` for anything else, `5.0` included.
    pub fn as_u64(self) -> Option<u64> {
        self.text_of(Kind::Integer)?.parse().ok()
    }

    /// Any number, rounded to the nearest `f64`; `None` for anything else, and for what is too large for one.
    pub fn as_f64(self) -> Option<f64> {
        let text = self.text_of(Kind::Integer).or_else(|| self.text_of(Kind::Float))?;
        text.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// `true` or `false`; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        self.text_of(Kind::Bool).map(|text| text == "true")
    }

    /// Whether it is `null`. A field that is not there at all is no `Field`.
    pub fn is_null(self) -> bool {
        self.kind == Kind::Null
    }

    /// Any type that serde can read, out of any kind of value; it may borrow from the event. Meant for arrays
    /// and objects: the other methods are cheaper.
    ///
    /// ```
    /// # use weir_plugin::{Error, Field};
    /// fn first_tag(field: Field<'_>) -> Result<Option<&str>, Error> {
    ///     Ok(field.json::<Vec<&str>>()?.first().copied())
    /// }
    /// ```
    ///
    /// # Errors
    /// If the value has another shape. The message says where, and holds nothing of the value.
    pub fn json<T: Deserialize<'a>>(self) -> Result<T, Error> {
        let read = match self.as_str() {
            Some(text) => T::deserialize(BorrowedStrDeserializer::<serde_json::Error>::new(text)),
            None => serde_json::from_slice(self.bytes),
        };
        read.map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Error::new(format!("a field has another shape than expected, at {place}"))
        })
    }

    /// Whether it can name an entity, as a partition key or lookup key does: a string that is not empty, or
    /// an integer.
    #[inline(always)]
    pub fn names_entity(self) -> bool {
        // Without a branch: keys of both kinds come in turn.
        (self.kind == Kind::Integer) | ((self.kind == Kind::Text) & !self.bytes.is_empty())
    }

    fn text_of(self, kind: Kind) -> Option<&'a str> {
        if self.kind == kind { self.text() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::{Field, Kind};

    fn field(kind: Kind, text: &str) -> Field<'_> {
        Field { bytes: text.as_bytes(), offset: 0, kind }
    }

    #[test]
    fn a_field_is_read_as_what_it_is_and_as_nothing_else() {
        let five = field(Kind::Integer, "5");
        assert_eq!((five.as_i64(), five.as_u64(), five.as_f64()), (Some(5), Some(5), Some(5.0)));
        assert_eq!((five.as_str(), five.as_bool(), five.text()), (None, None, Some("5")));
        let quoted = field(Kind::Text, "5");
        assert_eq!((quoted.as_str(), quoted.as_i64(), quoted.as_f64()), (Some("5"), None, None));
        let half = field(Kind::Float, "5e-1");
        assert_eq!((half.as_f64(), half.as_i64()), (Some(0.5), None));
        assert_eq!(field(Kind::Bool, "true").as_bool(), Some(true));
        assert_eq!(field(Kind::Bool, "false").as_bool(), Some(false));
        assert!(field(Kind::Null, "null").is_null() && !quoted.is_null());
    }

    #[test]
    fn integers_have_limits_and_floats_stay_finite() {
        let (large, larger) = (field(Kind::Integer, "18446744073709551615"), field(Kind::Float, "1e999"));
        assert_eq!((large.as_u64(), large.as_i64()), (Some(u64::MAX), None));
        assert_eq!(field(Kind::Integer, "-1").as_u64(), None);
        assert_eq!(larger.as_f64(), None);
    }

    #[test]
    fn json_reads_any_kind_and_keeps_values_out_of_its_errors() {
        assert_eq!(field(Kind::Array, r#"["a", "b"]"#).json::<Vec<&str>>(), Ok(vec!["a", "b"]));
        assert_eq!(field(Kind::Text, "a \"b\"").json::<&str>(), Ok("a \"b\""));
        assert_eq!(field(Kind::Integer, "7").json::<u8>(), Ok(7));
        let error = field(Kind::Text, "s3cret").json::<u8>().expect_err("is no number");
        assert!(!error.message().contains("s3cret"), "{error}");
    }
}
