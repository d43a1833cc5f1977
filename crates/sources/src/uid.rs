//! From the name that a device has elsewhere to its uid.

use fleetlog_aggregates::identity::{MAX_NAME, Uid, is_only_dots};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::formats::json::hexadecimal;
use crate::spec::OtherCharacters;

/// The bytes of the hash that a mark shows, as twice as many digits.
const MARK: usize = 5;
/// The characters of a name that stay before a mark.
const BEFORE_MARK: usize = MAX_NAME - 2 * MARK - 1;

/// The uid of a device with this name. The same name always has the same uid. `Err` says why it has none.
pub(crate) fn uid_of(name: &str, other: OtherCharacters) -> Result<Uid, String> {
    let refused = |why: &str| Err(format!("{:?} is no uid: {why}", shortened(name)));
    if is_plain(name) {
        return name.parse().or_else(|_| refused("it is not 1 to 64 characters of A-Z a-z 0-9 _ . -"));
    }
    if name.trim().is_empty() {
        return refused("it is empty");
    }
    let uid: String = match other {
        OtherCharacters::Mark => marked(name),
        OtherCharacters::Replace => replaced(name).collect(),
        OtherCharacters::Drop => name.chars().filter(|c| is_allowed(*c)).collect(),
        OtherCharacters::Refuse => return refused("it is not 1 to 64 characters of A-Z a-z 0-9 _ . -"),
    };
    if uid.len() > MAX_NAME {
        return refused("it is longer than 64 characters");
    }
    uid.parse().ok().filter(|_| is_plain(&uid)).map_or_else(|| refused("nothing is left of it"), Ok)
}

/// What needs no change. The characters are listed here and not taken from [`Uid`]: if a uid may have more one day, the uids
/// of devices that are known stay what they are.
fn is_plain(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_allowed) && !is_only_dots(name)
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn replaced(name: &str) -> impl Iterator<Item = char> + '_ {
    name.nfc().map(|c| if is_allowed(c) { c } else { '_' })
}

fn marked(name: &str) -> String {
    let composed: String = name.nfc().collect();
    let hash = Sha256::digest(composed.as_bytes());
    let readable: String = replaced(name).take(BEFORE_MARK).collect();
    format!("{readable}-{}", hexadecimal(&hash[..MARK]))
}

fn shortened(name: &str) -> String {
    const MOST: usize = 80;
    if name.chars().count() <= MOST {
        name.to_owned()
    } else {
        name.chars().take(MOST).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str, other: OtherCharacters) -> Result<String, String> {
        uid_of(name, other).map(|uid| uid.to_string())
    }

    #[test]
    fn a_name_that_is_a_uid_stays_what_it_is() {
        for name in ["dev-01", "0x00158d0001a2b3c4", "A.b_c-9", &"x".repeat(64)] {
            for other in [OtherCharacters::Mark, OtherCharacters::Refuse] {
                assert_eq!(uid(name, other).as_deref(), Ok(name));
            }
        }
    }

    #[test]
    fn a_mark_keeps_names_apart_that_look_alike() {
        let marked = |name: &str| uid(name, OtherCharacters::Mark).expect(name);
        assert!(marked("Living Room").starts_with("Living_Room-"), "{}", marked("Living Room"));
        assert_ne!(marked("Living Room"), marked("Living+Room"));
        assert_eq!(marked("l\u{e4}mpe"), marked("la\u{308}mpe"), "two ways to write one name");
        assert!(marked(&"ü".repeat(300)).len() == 64);
        assert_ne!(marked(&"x".repeat(65)), marked(&"x".repeat(66)));
        assert!(marked("..").starts_with("..-"));
    }

    #[test]
    fn other_characters_are_replaced_dropped_or_refused() {
        assert_eq!(uid("AA:BB", OtherCharacters::Drop).as_deref(), Ok("AABB"));
        assert_eq!(uid("a b/c", OtherCharacters::Replace).as_deref(), Ok("a_b_c"));
        for (name, other) in [
            ("a b", OtherCharacters::Refuse),
            ("::", OtherCharacters::Drop),
            ("", OtherCharacters::Mark),
            ("  ", OtherCharacters::Mark),
            (":..:", OtherCharacters::Drop),
            (&"a:".repeat(65), OtherCharacters::Drop),
            ("..", OtherCharacters::Refuse),
        ] {
            assert!(uid(name, other).is_err(), "{name}");
        }
    }
}
