//! How do I keep personal data out of the topic? Removes or masks the configured places of the data; an
//! event that lacks them passes untouched.

use weir_plugin::{Error, Event, Patch, Plugin, Role, Verdict, export};

/// What a masked value becomes.
const MASK: &str = "\"***\"";

/// Which places to redact.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redact {
    places: Vec<Place>,
}

/// A JSON pointer, and what to do there.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    pointer: String,
    #[serde(rename = "do")]
    action: Action,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Remove,
    Mask,
}

impl Plugin for Redact {
    const ROLES: &[Role] = &[Role::Enrich];

    fn fields(&self) -> Vec<String> {
        self.places.iter().map(|place| format!("data:{}", place.pointer)).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let root = self.places.iter().any(|place| place.pointer.is_empty());
        if root { Err(Error::new("`pointer` is empty: drop the event instead")) } else { Ok(()) }
    }

    fn process(&self, event: &Event<'_>, patch: &mut Patch<'_>) -> Verdict {
        // The last first: removing an element of an array moves those behind it.
        for (index, place) in self.places.iter().enumerate().rev() {
            match (event.field(index), &place.action) {
                (None, _) => {}
                (Some(_), Action::Remove) => patch.json_remove(&place.pointer),
                (Some(_), Action::Mask) => patch.json_set(&place.pointer, MASK),
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
        let config = r#"{"places": [{"pointer": "/card", "do": "remove"}, {"pointer": "/email", "do": "mask"}]}"#;
        let ending = Case::new().text("data:/email", "a@b.c").json("data:/card", "null").run::<Redact>(config);
        assert_eq!(ending.ops, [Op::JsonSet("/email".into(), "\"***\"".into()), Op::JsonRemove("/card".into())]);
        assert_eq!(Case::new().run::<Redact>(config).ops, []);
    }

    #[test]
    fn a_config_that_redacts_everything_is_refused() {
        assert!(check_config::<Redact>(r#"{"places": [{"pointer": "", "do": "mask"}]}"#).is_err());
    }
}
