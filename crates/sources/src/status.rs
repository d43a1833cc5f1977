//! What a message says about its device: that it is online, or that it is not.

use fleetlog_aggregates::device_status::Statement;

use crate::invalid::Findings;
use crate::limits::MAX_ENTRIES;
use crate::path::Path;
use crate::spec::{StatusSpec, StatusWords};
use crate::tree::Node;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StatusRule {
    Always(Statement),
    Says { path: Option<Path>, words: StatusWords },
}

impl StatusRule {
    pub(crate) fn compile(spec: &StatusSpec, at: &str, findings: &mut Findings) -> Option<Self> {
        let words = match spec {
            StatusSpec::Online => return Some(Self::Always(Statement::Online)),
            StatusSpec::Offline => return Some(Self::Always(Statement::Offline)),
            StatusSpec::Says(words) => words,
        };
        let at = format!("{at}/says");
        for (name, list) in [("online", &words.online), ("offline", &words.offline)] {
            findings.count(&format!("{at}/{name}"), list.len(), "words", 0, MAX_ENTRIES);
        }
        let path = match &words.path {
            None => None,
            Some(path) => Some(findings.keep(&format!("{at}/path"), Path::parse(path))?),
        };
        Some(Self::Says { path, words: words.clone() })
    }

    /// What the message says. `None` if it says neither. `payload` is `None` where it could not be read.
    pub(crate) fn read(&self, payload: Option<&Node<'_>>) -> Option<Statement> {
        let (path, words) = match self {
            Self::Always(statement) => return Some(*statement),
            Self::Says { path, words } => (path, words),
        };
        let payload = payload?;
        let node = match (path, payload) {
            (Some(path), Node::Map(_) | Node::List(_)) => path.first(payload)?,
            (None, Node::Map(_)) => payload.member("status").or_else(|| payload.member("state"))?,
            _ => payload,
        };
        let word = node.as_text()?;
        let word = word.trim();
        let is_one_of = |list: &[String]| list.iter().any(|own| own.eq_ignore_ascii_case(word));
        if is_one_of(&words.online) {
            Some(Statement::Online)
        } else if is_one_of(&words.offline) {
            Some(Statement::Offline)
        } else {
            // A word is no object, whatever it begins with.
            Statement::read(word).filter(|_| !word.starts_with('{'))
        }
    }
}
