//! The tape as the validator sees it: the traits of `jsonschema::json` over [`Node`]. Values of the event are
//! read in place; the only tree it can build is for the crate's own cold paths, which we do not use.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::ControlFlow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, JsonNumber, Node as JsonNode, NodeIdentity, Object};
use jsonschema_value::LazyInstance;
use serde_json::Value;
use simd_json::{Node as Entry, StaticNode};

use super::equality;
use crate::event::document::{Elements, Kind, Members, Node};

/// How many errors a step of the budget pays for, the other way round: an error allocates.
const STEPS_PER_ERROR: u64 = 16;

/// What is left of the steps one check or explanation may take.
///
/// Once nothing is left every object and array looks empty, so that whatever recursion is under way ends.
#[derive(Debug)]
pub(super) struct Budget {
    steps: Cell<u64>,
}

impl Budget {
    #[inline]
    pub(super) fn new(steps: u64) -> Self {
        Budget { steps: Cell::new(steps) }
    }

    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.steps.get() == 0
    }

    #[inline]
    fn spend(&self, steps: u64) {
        self.steps.set(self.steps.get().saturating_sub(steps));
    }
}

/// Names the tape among JSON representations.
pub(super) struct OnTape;

/// One value under validation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance<'a> {
    pub(super) node: Node<'a>,
    pub(super) budget: &'a Budget,
}

impl Json for OnTape {
    type Node<'a> = Instance<'a>;
    type PreparedKey = Box<str>;
    type StringBuffer = ();

    // A lookup scans the members, so one pass over them replaces several.
    const KEYS_PER_LOOKUP: usize = 16;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> Box<str> {
        key.into()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl FnOnce(Instance<'_>) -> T) -> T {
        // A string has nothing in it to spend steps on.
        f(Instance { node: Node::of_string(&[Entry::String(string)]), budget: &Budget::new(1) })
    }
}

impl<'a> JsonNode<'a, OnTape> for Instance<'a> {
    type Object = Instance<'a>;
    type Array = Instance<'a>;
    type Number = Number;

    #[inline]
    fn as_object(&self) -> Option<Instance<'a>> {
        matches!(self.node.entry(), Entry::Object { .. }).then_some(*self)
    }

    #[inline]
    fn as_array(&self) -> Option<Instance<'a>> {
        matches!(self.node.entry(), Entry::Array { .. }).then_some(*self)
    }

    #[inline]
    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.node.as_str().map(Cow::Borrowed)
    }

    #[inline]
    fn as_number(&self) -> Option<Number> {
        Number::of(self.node)
    }

    #[inline]
    fn as_boolean(&self) -> Option<bool> {
        self.node.as_bool()
    }

    #[inline]
    fn is_null(&self) -> bool {
        self.node.kind() == Kind::Null
    }

    #[inline]
    fn is_string(&self) -> bool {
        self.node.as_str().is_some()
    }

    #[inline]
    fn json_type(&self) -> JsonType {
        match self.node.kind() {
            Kind::Null => JsonType::Null,
            Kind::Boolean => JsonType::Boolean,
            Kind::Integer | Kind::Float => JsonType::Number,
            Kind::String => JsonType::String,
            Kind::Array => JsonType::Array,
            Kind::Object => JsonType::Object,
        }
    }

    fn string_length_within(&self, min: u64, max: u64) -> Option<bool> {
        let text = self.node.as_str()?;
        // A character takes one to four bytes, which decides most strings without counting.
        let bytes = text.len() as u64;
        let fewest = bytes.div_ceil(4);
        if bytes < min || fewest > max {
            return Some(false);
        }
        if min <= fewest && bytes <= max {
            return Some(true);
        }
        Some((min..=max).contains(&(text.chars().count() as u64)))
    }

    #[inline]
    fn equals_value(&self, expected: &Value) -> bool {
        equality::equals_value(self.node, expected)
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(match self.node.kind() {
            Kind::Null => Value::Null,
            Kind::Boolean => self.node.as_bool().into(),
            Kind::Integer | Kind::Float => {
                self.as_number().map(|number| number.to_number().into_owned()).into()
            }
            Kind::String => self.node.as_str().into(),
            Kind::Array => self.elements().map(|element| element.to_value().into_owned()).collect(),
            Kind::Object => {
                self.members().map(|(name, value)| (name.to_owned(), value.to_value().into_owned())).collect()
            }
        })
    }

    /// Errors are made without their value, so that none can be shown; instead they say whether they were made
    /// in time (`null`) or after the last step (`true`), when what they claim is no longer so.
    fn lazy_value(&self) -> LazyInstance<'a> {
        self.budget.spend(STEPS_PER_ERROR);
        LazyInstance::Ready(Cow::Owned(if self.budget.is_spent() { Value::Bool(true) } else { Value::Null }))
    }

    #[inline]
    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.node.entry()).addr()))
    }
}

impl<'a> Instance<'a> {
    #[inline]
    fn child(&self, node: Node<'a>) -> Instance<'a> {
        Instance { node, budget: self.budget }
    }

    #[inline]
    fn len_now(&self) -> usize {
        if self.budget.is_spent() { 0 } else { self.node.len() }
    }
}

impl<'a> Object<'a, OnTape> for Instance<'a> {
    type Node = Instance<'a>;
    type MemberName = &'a str;
    type MembersIter = InstanceMembers<'a>;

    #[inline]
    fn len(&self) -> usize {
        self.len_now()
    }

    #[inline]
    fn get(&self, key: &Box<str>) -> Option<Instance<'a>> {
        if self.budget.is_spent() {
            return None;
        }
        self.budget.spend(1 + self.node.len() as u64 / 8);
        self.node.get(key).map(|node| self.child(node))
    }

    #[inline]
    fn members(&self) -> InstanceMembers<'a> {
        InstanceMembers { members: self.node.members(), budget: self.budget }
    }

    #[inline]
    fn try_for_each_name_node<B>(
        &self,
        (): &mut (),
        mut f: impl FnMut(Instance<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut members = self.node.members();
        while let Some((name, _)) = members.next_nodes() {
            self.budget.spend(1);
            f(self.child(name))?;
        }
        ControlFlow::Continue(())
    }
}

impl<'a> Array<'a, OnTape> for Instance<'a> {
    type Node = Instance<'a>;
    type ElementsIter = InstanceElements<'a>;

    #[inline]
    fn len(&self) -> usize {
        self.len_now()
    }

    #[inline]
    fn elements(&self) -> InstanceElements<'a> {
        InstanceElements { elements: self.node.elements(), budget: self.budget }
    }

    fn is_unique(&self) -> bool {
        equality::is_unique(self.node)
    }
}

/// The members of an object, while steps are left.
pub(super) struct InstanceMembers<'a> {
    members: Members<'a>,
    budget: &'a Budget,
}

impl<'a> Iterator for InstanceMembers<'a> {
    type Item = (&'a str, Instance<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.budget.is_spent() {
            return None;
        }
        self.budget.spend(1);
        let (name, node) = self.members.next()?;
        Some((name, Instance { node, budget: self.budget }))
    }
}

/// The elements of an array, while steps are left.
pub(super) struct InstanceElements<'a> {
    elements: Elements<'a>,
    budget: &'a Budget,
}

impl<'a> Iterator for InstanceElements<'a> {
    type Item = Instance<'a>;

    #[inline]
    fn next(&mut self) -> Option<Instance<'a>> {
        if self.budget.is_spent() {
            return None;
        }
        self.budget.spend(1);
        self.elements.next().map(|node| Instance { node, budget: self.budget })
    }
}

/// A number as the tape holds it: integers exactly, the rest as `f64`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    #[inline]
    pub(super) fn of(node: Node<'_>) -> Option<Number> {
        match node.entry() {
            Entry::Static(StaticNode::U64(value)) => Some(Number::Unsigned(*value)),
            Entry::Static(StaticNode::I64(value)) => Some(Number::Signed(*value)),
            Entry::Static(StaticNode::F64(value)) => Some(Number::Float(*value)),
            _ => None,
        }
    }
}

impl JsonNumber for Number {
    #[inline]
    fn as_u64(&self) -> Option<u64> {
        match self {
            Number::Unsigned(value) => Some(*value),
            Number::Signed(value) => u64::try_from(*value).ok(),
            Number::Float(_) => None,
        }
    }

    #[inline]
    fn as_i64(&self) -> Option<i64> {
        match self {
            Number::Unsigned(value) => i64::try_from(*value).ok(),
            Number::Signed(value) => Some(*value),
            Number::Float(_) => None,
        }
    }

    #[inline]
    fn as_f64(&self) -> Option<f64> {
        Some(match self {
            Number::Unsigned(value) => *value as f64,
            Number::Signed(value) => *value as f64,
            Number::Float(value) => *value,
        })
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_number().to_string())
    }

    fn to_number(&self) -> Cow<'_, serde_json::Number> {
        Cow::Owned(match self {
            Number::Unsigned(value) => (*value).into(),
            Number::Signed(value) => (*value).into(),
            Number::Float(value) => serde_json::Number::from_f64(*value).unwrap_or_else(|| 0.into()),
        })
    }

    #[inline]
    fn is_integer(&self) -> bool {
        match self {
            Number::Float(value) => value.fract() == 0.0,
            _ => true,
        }
    }

    /// Integers too large for the tape were refused, so a float was written with a fraction or an exponent.
    #[inline]
    fn is_written_as_integer(&self) -> bool {
        !matches!(self, Number::Float(_))
    }
}
