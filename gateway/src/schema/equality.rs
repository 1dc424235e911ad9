//! When two JSON values are the same one (JSON Schema: numbers by their value, objects without order), for
//! `const`, `enum` and `uniqueItems`. On the tape, without building a value.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};

use jsonschema::json::cmp::equal_numbers;
use serde_json::Value;

use super::instance::Number;
use crate::event::document::{Kind, Node};

/// Arrays up to this size compare their elements in pairs.
const PAIRWISE_MAX: usize = 12;

/// Whether a value of an event is the one a schema wrote.
pub(super) fn equals_value(node: Node<'_>, expected: &Value) -> bool {
    match expected {
        Value::Null => node.kind() == Kind::Null,
        Value::Bool(expected) => node.as_bool() == Some(*expected),
        Value::Number(expected) => Number::of(node).is_some_and(|number| equal_numbers(&number, expected)),
        Value::String(expected) => node.as_str() == Some(expected),
        Value::Array(expected) => {
            node.kind() == Kind::Array
                && node.len() == expected.len()
                && node.elements().zip(expected).all(|(element, expected)| equals_value(element, expected))
        }
        // Neither side has a key twice, so equal numbers of members need only be found one way.
        Value::Object(expected) => {
            node.kind() == Kind::Object
                && node.len() == expected.len()
                && node.members().all(|(name, value)| {
                    expected.get(name).is_some_and(|expected| equals_value(value, expected))
                })
        }
    }
}

/// Whether no two elements of an array are the same value.
pub(super) fn is_unique(array: Node<'_>) -> bool {
    if array.len() <= PAIRWISE_MAX {
        let mut rest = array.elements();
        while let Some(element) = rest.next() {
            if rest.clone().any(|other| equal(element, other)) {
                return false;
            }
        }
        return true;
    }
    // Equal values have equal fingerprints; the key is fresh, so no event can choose others that do.
    let key = RandomState::new();
    let mut elements: Vec<(u64, Node<'_>)> =
        array.elements().map(|element| (fingerprint(&key, element), element)).collect();
    elements.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
    let mut same_fingerprint = elements.chunk_by(|one, other| one.0 == other.0);
    same_fingerprint.all(|run| {
        let is_repeated = |(index, one): (usize, &(u64, Node<'_>))| {
            run.iter().skip(index + 1).any(|other| equal(one.1, other.1))
        };
        !run.iter().enumerate().any(is_repeated)
    })
}

fn equal(one: Node<'_>, other: Node<'_>) -> bool {
    match (Number::of(one), Number::of(other)) {
        (Some(one), Some(other)) => return Whole::of(one) == Whole::of(other),
        (None, None) if one.kind() == other.kind() && one.len() == other.len() => {}
        _ => return false,
    }
    match one.kind() {
        Kind::Array => one.elements().zip(other.elements()).all(|(one, other)| equal(one, other)),
        Kind::Object => {
            one.members().zip(other.members()).all(|((name, value), (other_name, other_value))| {
                // Most objects keep their order; only the rest pay for lookups.
                let found = if name == other_name { Some(other_value) } else { other.get(name) };
                found.is_some_and(|found| equal(value, found))
            })
        }
        _ => one.as_str() == other.as_str() && one.as_bool() == other.as_bool(),
    }
}

fn fingerprint(key: &RandomState, node: Node<'_>) -> u64 {
    let mut hasher = key.build_hasher();
    if let Some(number) = Number::of(node) {
        Whole::of(number).hash(&mut hasher);
    }
    match node.kind() {
        Kind::Array => node.elements().for_each(|element| hasher.write_u64(fingerprint(key, element))),
        // Members may come in any order, so theirs are added up.
        Kind::Object => {
            hasher.write_u64(node.members().fold(0, |sum, (name, value)| {
                sum.wrapping_add(key.hash_one((name, fingerprint(key, value))))
            }))
        }
        _ => (node.as_str(), node.as_bool()).hash(&mut hasher),
    }
    hasher.finish()
}

/// A number in the one form all its spellings share.
#[derive(PartialEq, Eq, Hash)]
enum Whole {
    Integer(i128),
    Bits(u64),
}

impl Whole {
    fn of(number: Number) -> Whole {
        match number {
            Number::Unsigned(value) => Whole::Integer(value.into()),
            Number::Signed(value) => Whole::Integer(value.into()),
            #[expect(clippy::cast_possible_truncation, reason = "whole and within the range of i128")]
            Number::Float(value) if value.fract() == 0.0 && value.abs() < 1e38 => {
                Whole::Integer(value as i128)
            }
            Number::Float(value) => Whole::Bits(value.to_bits()),
        }
    }
}
