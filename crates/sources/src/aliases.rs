//! The names that Sparkplug births gave to aliases. Data refers to a metric by its alias only, so a fold keeps these for each
//! device, from the births that it has met.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::formats::sparkplug;
use crate::limits::MAX_ALIASES;

/// What the latest birth of a device said of its aliases. Part of a fold's state: the same births lead to the same aliases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Aliases(BTreeMap<u64, Named>);

/// What an alias stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    /// The number of its type in Sparkplug, which data may leave out, too. 0 if it is not known.
    #[serde(default, skip_serializing_if = "is_unknown", rename = "type")]
    pub(crate) kind: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_unknown(kind: &u32) -> bool {
    *kind == 0
}

impl Aliases {
    /// Whether no birth has named an alias.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many aliases have a name.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, alias: u64) -> Option<&Named> {
        self.0.get(&alias)
    }

    /// Takes the aliases of a birth instead of those that were known, and says whether the message is a birth. At most
    /// [`MAX_ALIASES`] are kept.
    pub(crate) fn learn(&mut self, topic: &str, payload: &[u8]) -> bool {
        let is_birth = topic.split('/').any(|level| matches!(level, "NBIRTH" | "DBIRTH"));
        let Some(births) = is_birth.then(|| sparkplug::names(payload)).flatten() else { return false };
        let kept = births.into_iter().take(MAX_ALIASES);
        self.0 = kept.map(|(alias, name, kind)| (alias, Named { name: name.into(), kind })).collect();
        true
    }
}
