//! Random secrets: refresh tokens, API keys, tokens in mails, devices' passwords. Nobody guesses their bits, and so a fast
//! digest is enough to keep.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rand::RngExt;

/// 256 bits.
pub type Bits = [u8; 32];

/// New random bits.
#[must_use]
pub fn random() -> Bits {
    rand::rng().random()
}

/// Bits as text, behind the prefix that says what they are for.
#[must_use]
pub fn text(prefix: &str, bits: &[u8]) -> String {
    format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bits))
}

/// The bits of a text with that prefix.
#[must_use]
pub fn bits(prefix: &str, text: &str) -> Option<Bits> {
    let encoded = text.strip_prefix(prefix)?;
    BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?.try_into().ok()
}

/// What is kept of a secret.
#[must_use]
pub fn digest_of(secret: &[u8]) -> Bits {
    let mut bits = Bits::default();
    bits.copy_from_slice(digest(&SHA256, secret).as_ref());
    bits
}

/// Whether a secret is the one that a digest was made of, in the same time for every other.
#[must_use]
pub fn matches(secret: &[u8], kept: &[u8]) -> bool {
    same(&digest_of(secret), kept)
}

/// Whether two digests are the same, in the same time whichever part differs.
#[must_use]
pub fn same(digest: &[u8], kept: &[u8]) -> bool {
    verify_slices_are_equal(digest, kept).is_ok()
}

/// What follows from a secret for whoever has the key, and from nothing else.
#[must_use]
pub fn derive(key: &[u8], secret: &[u8]) -> Bits {
    let mut bits = Bits::default();
    bits.copy_from_slice(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), secret).as_ref());
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_back_behind_its_own_prefix_only() {
        let secret = random();
        assert_eq!(bits("flr_", &text("flr_", &secret)), Some(secret));
        assert_eq!(bits("flk_", &text("flr_", &secret)), None);
        for nonsense in ["", "flr_", "flr_x", "flr_\u{e9}", &"flr_A".repeat(100)] {
            assert_eq!(bits("flr_", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_the_secret_itself_matches_what_is_kept_of_it() {
        let (one, other) = (random(), random());
        assert!(matches(&one, &digest_of(&one)));
        assert!(!matches(&other, &digest_of(&one)));
        assert!(!matches(&one, &[]));
        assert_ne!(derive(&one, &other), derive(&other, &one));
    }
}
