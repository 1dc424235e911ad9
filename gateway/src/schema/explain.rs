//! Why an event does not match its schema, within a number of steps, in words that come from the schema alone.
//! It never decides whether an event is accepted.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::instance::{Budget, Instance, OnTape};
use crate::event::document::{Node, cut_pointer};
use crate::problem::{Problem, Violation};

/// The longest quotation from a schema in one violation.
const QUOTE_BYTES_MAX: usize = 120;

/// The first violations of a value, at most [`Problem::VIOLATIONS_MAX`].
///
/// Listing all errors takes time exponential in an event's depth for some schemas. When the steps are used up
/// what is not yet known stays unsaid; if that is everything, one violation of `schema` at the root says so.
pub(super) fn explain(validator: &Validator<OnTape>, node: Node<'_>, steps_max: u64) -> Vec<Violation> {
    let budget = Budget::new(steps_max);
    let mut violations = Vec::new();
    for error in validator.iter_errors(Instance { node, budget: &budget }) {
        describe(&error, &mut violations);
    }
    violations.truncate(Problem::VIOLATIONS_MAX);
    if violations.is_empty() && budget.is_spent() {
        let detail = "the event does not match, or is too complex to check".to_owned();
        violations.push(Violation { pointer: String::new(), keyword: "schema".to_owned(), detail });
    }
    violations
}

/// Adds an error, and for one of several alternatives the errors of the alternative that came closest.
fn describe(error: &ValidationError<'_>, violations: &mut Vec<Violation>) {
    if violations.len() >= Problem::VIOLATIONS_MAX || !made_in_time(error) {
        return;
    }
    violations.push(Violation {
        pointer: cut_pointer(error.instance_path().to_string()),
        keyword: error.kind().keyword().to_owned(),
        detail: detail(error.kind()),
    });
    if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = error.kind()
        && let Some(closest) = closest(context)
    {
        closest.iter().for_each(|error| describe(error, violations));
    }
}

/// Errors made after the last step describe what no longer could be seen (see `Instance::lazy_value`).
fn made_in_time(error: &ValidationError<'_>) -> bool {
    error.instance().is_null()
}

/// The alternative that failed deepest inside the value; of several the one with the fewest errors.
fn closest<'c>(
    alternatives: &'c [Vec<ValidationError<'static>>],
) -> Option<&'c Vec<ValidationError<'static>>> {
    let depth = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
    let shallowest = |errors: &[ValidationError<'_>]| errors.iter().map(depth).min().unwrap_or(0);
    let told = alternatives.iter().filter(|errors| !errors.is_empty() && errors.iter().all(made_in_time));
    told.max_by_key(|errors| (shallowest(errors), std::cmp::Reverse(errors.len())))
}

/// What a keyword asks for. Names found in the event are not among it.
fn detail(kind: &Kind) -> String {
    match kind {
        Kind::Required { property } => format!("the property {} is required", quote(property)),
        Kind::Type { kind: TypeKind::Single(kind) } => format!("must be of type {kind}"),
        Kind::Type { kind: TypeKind::Multiple(kinds) } => {
            let names: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
            format!("must be of one of the types {}", names.join(", "))
        }
        Kind::Enum { options } => format!("must be one of {}", quote(options)),
        Kind::Constant { expected_value } => format!("must be {}", quote(expected_value)),
        Kind::Format { format } => format!("must be a valid {format}"),
        Kind::Pattern { pattern } => format!("must match the pattern {}", cut_quote(pattern)),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} elements"),
        Kind::MaxItems { limit } => format!("must have at most {limit} elements"),
        Kind::AdditionalItems { limit } => format!("must have at most {limit} elements"),
        Kind::MinProperties { limit } => format!("must have at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} properties"),
        Kind::AdditionalProperties { .. } | Kind::UnevaluatedProperties { .. } => {
            "must not have properties beyond those of the schema".to_owned()
        }
        Kind::UnevaluatedItems { .. } => "must not have elements beyond those of the schema".to_owned(),
        Kind::PropertyNames { .. } => "has a property whose name is not allowed".to_owned(),
        Kind::UniqueItems => "must not have the same element twice".to_owned(),
        Kind::Contains => "must have an element of the kind the schema asks for".to_owned(),
        Kind::AnyOf { context } => format!("must match one of {} alternatives", context.len()),
        Kind::OneOfNotValid { context } => {
            format!("must match exactly one of {} alternatives", context.len())
        }
        Kind::OneOfMultipleValid { .. } => {
            "must match exactly one alternative, but matches several".to_owned()
        }
        Kind::Not { .. } => "must not match what the schema excludes".to_owned(),
        Kind::FalseSchema => "must not be there".to_owned(),
        other => format!("must satisfy {}", other.keyword()),
    }
}

fn quote(value: &Value) -> String {
    cut_quote(&value.to_string())
}

fn cut_quote(text: &str) -> String {
    if text.len() <= QUOTE_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(QUOTE_BYTES_MAX);
    format!("{}…", text.get(..end).unwrap_or_default())
}
