//! What devices answer to commands, in their own words.

use fleetlog_aggregates::identity::Uid;
use fleetlog_aggregates::telemetry::MAX_PAYLOAD;
use serde_json::Value;
use uuid::Uuid;

use crate::aliases::Aliases;
use crate::formats::{Document, Format, Unreadable};
use crate::identify::{Message, NoUid};
use crate::invalid::{Findings, Why};
use crate::limits::{MAX_ENTRIES, MAX_PLACES};
use crate::path::Path;
use crate::pattern::{Levels, Pattern};
use crate::source::Names;
use crate::spec::{AnswerSpec, AnswersSpec, Failed, NamesCommand, OtherCharacters};
use crate::template::{Scope, Template};
use crate::tree::Node;
use crate::uid::uid_of;

/// A device's answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The device.
    pub uid: Uid,
    /// The command. `None` for the one under way.
    pub cmd_id: Option<Uuid>,
    /// The device says that the command has failed.
    pub is_failure: bool,
    /// The answer itself.
    pub content: Value,
}

/// Why a message on a topic for answers cannot be read as an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The payload cannot be read.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// It does not say which device it is from.
    #[error("{0}")]
    NoUid(NoUid),
    /// It does not name a command.
    #[error("the answer names no command")]
    NoCommand,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AnswerRule {
    pub(crate) pattern: Pattern,
    format: Format,
    uid: Template,
    /// `None` for the command under way.
    command: Option<(Template, String)>,
    failed: Option<FailedRule>,
}

#[derive(Debug, Clone, PartialEq)]
enum FailedRule {
    Always,
    If(Path),
    Is(Path, Vec<String>),
}

impl AnswerRule {
    pub(crate) fn compile_all(spec: &AnswersSpec, findings: &mut Findings) -> Option<Vec<Self>> {
        let AnswersSpec::On(list) = spec else { return Some(Vec::new()) };
        findings.count("/commands/answers/on", list.len(), "answers", 1, MAX_PLACES);
        let list = list.iter().enumerate();
        list.map(|(nth, spec)| Self::compile(spec, &format!("/commands/answers/on/{nth}"), findings))
            .collect()
    }

    fn compile(spec: &AnswerSpec, at: &str, findings: &mut Findings) -> Option<Self> {
        let pattern = findings.keep(&format!("{at}/topic"), Pattern::parse(&spec.topic))?;
        let names = Names::new(std::slice::from_ref(&pattern));
        let uid = match &spec.uid {
            Some(text) => names.template_with(text, &["login"], &format!("{at}/uid"), findings),
            None if names.has("uid") => names.template_with("{uid}", &[], at, findings),
            None => {
                findings.note(&format!("{at}/topic"), Why::NoUid);
                None
            }
        };
        let command = match &spec.command {
            NamesCommand::UnderWay => Some(None),
            NamesCommand::Id(id) => {
                let place = names.template_with(&id.path, &[], &format!("{at}/command/id/path"), findings);
                place.map(|place| Some((place, id.after.clone().unwrap_or_default())))
            }
        };
        let failed = match &spec.failed {
            None => Some(None),
            Some(failed) => FailedRule::compile(failed, &format!("{at}/failed"), findings).map(Some),
        };
        let format = spec.format.clone().unwrap_or(Format::LenientJson);
        Some(Self { pattern: pattern.clone(), format, uid: uid?, command: command?, failed: failed? })
    }

    pub(crate) fn read(&self, levels: &Levels<'_>, message: Message<'_>) -> Result<Answer, Unanswered> {
        let Message { payload, login, .. } = message;
        let unreadable = |why: &str| Err(Unanswered::Unreadable(why.to_owned()));
        if payload.len() > MAX_PAYLOAD {
            return unreadable("it is too large");
        }
        let none = Aliases::default();
        let Document { root, .. } = match self.format.read(payload, &none) {
            Ok(document) => document,
            Err(Unreadable::Syntax(why)) => return unreadable(&why),
            Err(Unreadable::Spent(_)) => return unreadable("it has too many values, or is nested too deep"),
        };
        let scope = Scope { levels, key: None, login, reading: Some(&root), message: Some(&root) };
        let name = self.uid.fill(&scope).ok_or_else(|| NoUid::Missing(self.uid.to_string()));
        let uid = name.and_then(|name| uid_of(&name.text, OtherCharacters::Mark).map_err(NoUid::Bad));
        let uid = uid.map_err(Unanswered::NoUid)?;
        let cmd_id = match &self.command {
            None => None,
            Some((place, after)) => Some(find_id(place, after, &scope).ok_or(Unanswered::NoCommand)?),
        };
        let is_failure = self.failed.as_ref().is_some_and(|failed| failed.holds(&root));
        Ok(Answer { uid, cmd_id, is_failure, content: root.to_json() })
    }
}

fn find_id(place: &Template, after: &str, scope: &Scope<'_, '_>) -> Option<Uuid> {
    let id = |text: &str| Uuid::parse_str(text.strip_prefix(after)?).ok();
    match (place.only_path(), scope.message) {
        (Some(path), Some(root)) => path.all(root).iter().find_map(|place| id(&place.node.as_text()?)),
        _ => id(&place.fill(scope)?.text),
    }
}

impl FailedRule {
    fn compile(spec: &Failed, at: &str, findings: &mut Findings) -> Option<Self> {
        Some(match spec {
            Failed::Always => Self::Always,
            Failed::If(path) => Self::If(findings.keep(&format!("{at}/if"), Path::parse(path))?),
            Failed::Is(is) => {
                let at = format!("{at}/is");
                findings.count(&format!("{at}/words"), is.words.len(), "words", 1, MAX_ENTRIES);
                Self::Is(findings.keep(&format!("{at}/path"), Path::parse(&is.path))?, is.words.clone())
            }
        })
    }

    fn holds(&self, root: &Node<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::If(path) => {
                path.all(root).iter().any(|place| !matches!(place.node, Node::Null | Node::Bool(false)))
            }
            Self::Is(path, words) => path.all(root).iter().any(|place| {
                let text = place.node.as_text();
                text.is_some_and(|text| words.iter().any(|word| *word == text))
            }),
        }
    }
}
