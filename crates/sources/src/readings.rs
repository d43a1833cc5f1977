//! The readings of a message: one, or as many as a source takes it apart into.

use serde::{Deserialize, Serialize};

use crate::limits::MAX_READINGS;
use crate::path::{Path, Place, Taken};
use crate::tree::Node;

/// Which of a message's readings an event is about. Stored with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Its place: 0, 1, 2 …
    pub nth: u32,
    /// How many there are.
    pub of: u32,
}

impl Part {
    /// The only reading of a message.
    pub const WHOLE: Self = Self { nth: 0, of: 1 };

    /// Whether it is the only reading of its message.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.of == 1
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// A reading within a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'n, 'a> {
    /// `None` where the payload could not be read, or was not needed.
    pub(crate) node: Option<&'n Node<'a>>,
    /// The name of the member that it is, or is in a list of.
    pub(crate) key: Option<&'n str>,
}

impl<'n, 'a> Reading<'n, 'a> {
    pub(crate) fn whole(node: Option<&'n Node<'a>>) -> Self {
        Self { node, key: None }
    }
}

/// The readings of a message. A message in which `each` finds nothing is one reading. `Err` says how many there are, if they
/// are more than [`MAX_READINGS`].
pub(crate) fn readings<'n, 'a>(
    each: Option<&Path>,
    root: &'n Node<'a>,
) -> Result<Vec<Reading<'n, 'a>>, usize> {
    let Some(each) = each else { return Ok(vec![Reading::whole(Some(root))]) };
    let mut readings = Vec::new();
    for Place { node, way, .. } in each.all(root) {
        let key = way.iter().rev().find_map(Taken::name);
        match node {
            Node::List(elements) => {
                readings.extend(elements.iter().map(|node| Reading { node: Some(node), key }));
            }
            node => readings.push(Reading { node: Some(node), key }),
        }
    }
    match readings.len() {
        0 => Ok(vec![Reading::whole(Some(root))]),
        many if many > MAX_READINGS => Err(many),
        _ => Ok(readings),
    }
}
