//! A payload as a tree, whatever format it came in. Every format reads into this, within one [`Budget`]; all else works on
//! the tree alone. Text is borrowed from the payload where the payload has it as it is.

use std::borrow::Cow;
use std::collections::HashMap;

use fleetlog_aggregates::metrics::MAX_DEPTH;

use crate::limits::MAX_NODES;

/// A value of a payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    /// NaN, an infinity, or a number that is too large for a double.
    NotFinite,
    Bool(bool),
    Int(i64),
    /// An integer beyond [`Node::Int`].
    Unsigned(u64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    /// In the payload's order. No key is there twice.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn float(value: f64) -> Self {
        if value.is_finite() { Self::Float(value) } else { Self::NotFinite }
    }

    pub(crate) fn unsigned(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Unsigned(value), Self::Int)
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Node<'a>> {
        let Self::Map(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The element at an index; a negative one counts from the end.
    pub(crate) fn element(&self, index: i64) -> Option<&Node<'a>> {
        let Self::List(elements) = self else { return None };
        let at = if index < 0 { index + elements.len() as i64 } else { index };
        elements.get(usize::try_from(at).ok()?)
    }

    /// Where the value lies, by which it is told from others that are equal.
    pub(crate) fn address(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match *self {
            Self::Int(value) => Some(value as f64),
            Self::Unsigned(value) => Some(value as f64),
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// A scalar as text. `None` for null and for what has parts.
    pub(crate) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Int(value) => Some(value.to_string().into()),
            Self::Unsigned(value) => Some(value.to_string().into()),
            Self::Float(value) => Some(value.to_string().into()),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Null | Self::NotFinite | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The same as JSON. The places of all values stay the same.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        self.to_json_within(&mut { usize::MAX }).unwrap_or_default()
    }

    /// The same as JSON, if it has no more values than are left.
    pub(crate) fn to_json_within(&self, left: &mut usize) -> Option<serde_json::Value> {
        use serde_json::Value;
        *left = left.checked_sub(1)?;
        Some(match self {
            Self::Null | Self::NotFinite => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::from(*value),
            Self::Unsigned(value) => Value::from(*value),
            Self::Float(value) => Value::from(*value),
            Self::Text(text) => Value::String(text.clone().into_owned()),
            Self::List(elements) => {
                elements.iter().map(|element| element.to_json_within(left)).collect::<Option<_>>()?
            }
            Self::Map(members) => {
                let member = |(key, value): &(Cow<'_, str>, Node<'_>)| {
                    Some((key.clone().into_owned(), value.to_json_within(left)?))
                };
                Value::Object(members.iter().map(member).collect::<Option<_>>()?)
            }
        })
    }
}

/// What a payload may still contain, and what was noticed about it so far.
#[derive(Debug)]
pub(crate) struct Budget {
    nodes: usize,
    depth: usize,
    /// What was spent first, once something is spent.
    pub(crate) spent: Option<Spent>,
    /// A key stands twice in one object. The last one counts.
    pub(crate) is_repeated: bool,
}

/// What a payload has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spent {
    Depth,
    Nodes,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { nodes: MAX_NODES, depth: MAX_DEPTH, spent: None, is_repeated: false }
    }

    /// Pays for a value.
    pub(crate) fn take(&mut self) -> Result<(), Spent> {
        let Some(left) = self.nodes.checked_sub(1) else {
            self.spent = Some(Spent::Nodes);
            return Err(Spent::Nodes);
        };
        self.nodes = left;
        Ok(())
    }

    /// Pays for what was read with a budget of its own.
    pub(crate) fn pay(&mut self, other: &Self) -> Result<(), Spent> {
        self.is_repeated |= other.is_repeated;
        let spent = MAX_NODES - other.nodes;
        let Some(left) = self.nodes.checked_sub(spent) else {
            self.spent = Some(Spent::Nodes);
            return Err(Spent::Nodes);
        };
        self.nodes = left;
        Ok(())
    }

    /// Goes into a list or map. [`Budget::leave`] comes out again.
    pub(crate) fn enter(&mut self) -> Result<(), Spent> {
        let Some(left) = self.depth.checked_sub(1) else {
            self.spent = Some(Spent::Depth);
            return Err(Spent::Depth);
        };
        self.depth = left;
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.depth += 1;
    }

    /// Makes a map of members: of a key that comes twice, the first place and the last value stay.
    pub(crate) fn map<'a>(&mut self, members: Vec<(Cow<'a, str>, Node<'a>)>) -> Node<'a> {
        /// Below this, comparing all keys costs less than hashing them.
        const FEW: usize = 16;
        let is_repeated = if members.len() <= FEW {
            (1..members.len()).any(|at| members[..at].iter().any(|(key, _)| *key == members[at].0))
        } else {
            let mut keys = std::collections::HashSet::with_capacity(members.len());
            !members.iter().all(|(key, _)| keys.insert(&**key))
        };
        if !is_repeated {
            return Node::Map(members);
        }
        self.is_repeated = true;
        let mut places: HashMap<Cow<'a, str>, usize> = HashMap::with_capacity(members.len());
        let mut kept: Vec<(Cow<'a, str>, Node<'a>)> = Vec::with_capacity(members.len());
        for (key, value) in members {
            if let Some(&at) = places.get(&key) {
                kept[at].1 = value;
            } else {
                places.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
        Node::Map(kept)
    }
}
