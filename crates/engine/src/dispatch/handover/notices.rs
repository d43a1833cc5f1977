//! What nodes tell each other about listeners and handovers. A notice that is lost costs time: the row is there, and the device
//! is tried again.

use std::sync::Arc;

use fleetlog_aggregates::topic::Channel;
use fleetlog_event_log::notices::LONGEST;
use uuid::Uuid;

use crate::devices::credentials::Device;

/// What a notice begins with.
const LISTENS: &str = "listens";
const ASKED: &str = "asked";
const ANSWERED: &str = "answered";
const AGAIN: &str = "again";
/// Behind a device for which its node keeps a command. No name has it.
const KEPT: char = '*';
/// How many devices, and how many answers, a notice has: of a device its two names of 64 bytes each and what is between them.
const IN_A_NOTICE: usize = (LONGEST - 50) / 131;

/// What a notice says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A device listens at another node, which may keep a command for it.
    Listens { node: Uuid, topic: Arc<str>, is_kept: bool },
    /// A command is handed over to this node.
    Asked,
    /// A handover of this node's has its answer.
    Answered(Uuid),
    /// The command that is kept for a topic is to be published again by this node.
    Again(Arc<str>),
}

/// The topic of a device's commands.
pub(super) fn topic(device: &Device) -> String {
    device.topic(Channel::Commands).to_string()
}

fn notice(kind: &str, node: Uuid, words: impl Iterator<Item = String>) -> String {
    [kind.to_owned(), node.to_string()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// That devices listen at a node.
pub(super) fn listening(node: Uuid, devices: &[Device], is_kept: impl Fn(&Device) -> bool) -> Vec<String> {
    let word = |device: &Device| if is_kept(device) { format!("{device}{KEPT}") } else { device.to_string() };
    devices.chunks(IN_A_NOTICE).map(|some| notice(LISTENS, node, some.iter().map(word))).collect()
}

/// That something is handed over to a node.
pub(super) fn asked(node: Uuid) -> String {
    format!("{ASKED} {node}")
}

/// That handovers which a node has made have their answers.
pub(super) fn answered(node: Uuid, handovers: &[Uuid]) -> Vec<String> {
    let of = |some: &[Uuid]| notice(ANSWERED, node, some.iter().map(Uuid::to_string));
    handovers.chunks(IN_A_NOTICE).map(of).collect()
}

/// That a node is to publish again what it keeps for a topic.
pub(super) fn again(node: Uuid, topic: &str) -> String {
    format!("{AGAIN} {node} {topic}")
}

/// Calls this with all that a notice says to this node. What another version of this program may have written is skipped.
pub(super) fn read(here: Uuid, notice: &str, mut says: impl FnMut(Notice)) {
    let mut words = notice.split(' ');
    let (Some(kind), Some(Ok(node))) = (words.next(), words.next().map(str::parse::<Uuid>)) else { return };
    match kind {
        LISTENS if node != here => {
            for word in words {
                let (name, is_kept) = word.strip_suffix(KEPT).map_or((word, false), |name| (name, true));
                if let Ok(device) = name.parse() {
                    says(Notice::Listens { node, topic: topic(&device).into(), is_kept });
                }
            }
        }
        ASKED if node == here => says(Notice::Asked),
        ANSWERED if node == here => {
            words.filter_map(|word| word.parse().ok()).for_each(|id| says(Notice::Answered(id)));
        }
        AGAIN if node == here => words.take(1).for_each(|topic| says(Notice::Again(topic.into()))),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(here: Uuid, notice: &str) -> Vec<Notice> {
        let mut heard = vec![];
        read(here, notice, |notice| heard.push(notice));
        heard
    }

    #[test]
    fn everybody_else_hears_who_listens_however_many_and_however_long_their_names_are() {
        let (here, there) = (Uuid::now_v7(), Uuid::now_v7());
        let devices: Vec<Device> =
            (0..200).map(|nth| format!("{}/{nth:064}", "t".repeat(64)).parse().expect("a device")).collect();
        let notices = listening(here, &devices, |device| device.uid.as_str().ends_with('7'));
        assert!(notices.iter().all(|notice| notice.len() <= LONGEST));
        let said: Vec<_> = notices.iter().flat_map(|notice| heard(there, notice)).collect();
        let expected = devices.iter().map(|device| Notice::Listens {
            node: here,
            topic: topic(device).into(),
            is_kept: device.uid.as_str().ends_with('7'),
        });
        assert_eq!(said, expected.collect::<Vec<_>>());
        assert_eq!(heard(here, &notices[0]), []);
    }

    #[test]
    fn only_the_node_that_is_meant_hears_of_a_handover() {
        let (here, there, id) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let commands = "t0/devices/dev-01/commands";
        for (notice, said) in [
            (asked(here), Notice::Asked),
            (answered(here, &[id]).concat(), Notice::Answered(id)),
            (again(here, commands), Notice::Again(commands.into())),
        ] {
            assert_eq!(heard(here, &notice), [said]);
            assert_eq!(heard(there, &notice), []);
        }
        for other in ["", "asked", "asked x", "listens", "arrived x y@1", &format!("answered {here} x")] {
            assert_eq!(heard(here, other), [], "{other}");
        }
    }
}
