//! How do I keep personal data out of the topic? Removes or masks the configured places of the data.

use weir_plugin::{Error, Event, Patch, Plugin, Role, Verdict, export};

/// What a masked value becomes.
const MASK: &str = "\"***\"";

/// Which places to redact, by JSON pointer. Elements of one array are to be listed in order.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    #[serde(default)]
    mask: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
}

impl Redact {
    fn pointers(&self) -> impl Iterator<Item = &String> {
        self.mask.iter().chain(&self.remove)
    }
}

impl Plugin for Redact {
    const ROLES: &[Role] = &[Role::Enrich];

    fn fields(&self) -> Vec<String> {
        self.pointers().map(|pointer| format!("data:{pointer}")).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let within = |pointer: &String, outer: &String| pointer.starts_with(&format!("{outer}/"));
        let nested = self.pointers().any(|pointer| self.pointers().any(|outer| within(pointer, outer)));
        let root = self.pointers().any(String::is_empty);
        if nested || root { Err(Error::new("a pointer is empty, or within another")) } else { Ok(()) }
    }

    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
        let present = |index: usize| event.field(index).is_some();
        for (index, pointer) in self.mask.iter().enumerate() {
            if present(index) {
                patch.json_set(pointer, MASK);
            }
        }
        // The last first: removing an element of an array moves those behind it.
        for (index, pointer) in self.remove.iter().enumerate().rev() {
            if present(self.mask.len() + index) {
                patch.json_remove(pointer);
            }
        }
        Verdict::Pass
    }
}

export!(Redact);

#[cfg(test)]
mod tests {
    use weir_plugin::testing::{Case, Op, check_config};

    use super::Redact;

    #[test]
    fn removes_and_masks_what_is_there() {
        let config = r#"{"remove": ["/card"], "mask": ["/email"]}"#;
        let ending =
            Case::new().text("data:/email", "a@b.c").json("data:/card", "null").run::<Redact>(config);
        assert_eq!(
            ending.ops,
            [Op::JsonSet("/email".into(), "\"***\"".into()), Op::JsonRemove("/card".into())]
        );
        assert_eq!(Case::new().run::<Redact>(config).ops, []);
    }

    #[test]
    fn a_config_that_makes_no_sense_is_refused() {
        assert!(check_config::<Redact>(r#"{"mask": [""]}"#).is_err());
        assert!(check_config::<Redact>(r#"{"remove": ["/a"], "mask": ["/a/b"]}"#).is_err());
    }
}
