//! The operator's secret, and what is sealed with it, the keys that sign: whoever gets hold of the database alone can sign
//! nothing.
//!
//! AES-256-GCM under a key derived from the secret with HKDF-SHA256; what is sealed is bound to its name.

use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::error::Error;

/// The fewest characters of a secret.
pub const MIN_SECRET: usize = 32;
/// What is sealed begins so; a private key in PKCS #8 begins with 0x30.
const SEALED: u8 = 1;

/// The operator's secret. It is never shown.
#[derive(Clone)]
pub struct Secret(Arc<RandomizedNonceKey>);

/// A text that is too short to be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {MIN_SECRET} characters or more; make one with: openssl rand -base64 32")]
pub struct TooShort;

impl FromStr for Secret {
    type Err = TooShort;

    fn from_str(text: &str) -> Result<Self, TooShort> {
        if text.trim().chars().count() < MIN_SECRET {
            return Err(TooShort);
        }
        let mut key = [0; 32];
        let derived = Salt::new(HKDF_SHA256, b"fleetlog").extract(text.trim().as_bytes());
        let filled = derived.expand(&[b"signing keys"], HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
        // Neither can fail for a key of this length.
        let key = filled.and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &key));
        key.map(|key| Self(Arc::new(key))).map_err(|_| TooShort)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Seals what has a name.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = plain.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::from(name), &mut sealed).map_err(|_| failed())?;
        Ok([&[SEALED], nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what [`Self::seal`] has sealed under the same name.
    fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (nonce, sealed) = sealed[1..].split_at_checked(NONCE_LEN).ok_or_else(failed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| failed())?;
        let mut plain = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(name), &mut plain).map_err(|_| wrong())?.len();
        plain.truncate(length);
        Ok(plain)
    }
}

/// Whether something is sealed. What is not must not begin with the byte 1.
#[must_use]
pub fn is_sealed(stored: &[u8]) -> bool {
    stored.first() == Some(&SEALED)
}

/// What is stored under a name, opened if it is sealed.
pub fn open(secret: Option<&Secret>, name: &str, stored: Vec<u8>) -> Result<Vec<u8>, Error> {
    match secret {
        _ if !is_sealed(&stored) => Ok(stored),
        Some(secret) => secret.open(name, &stored),
        None => Err(crypto("it is sealed: set FLEETLOG_SECRET to the secret that it was sealed with")),
    }
}

fn wrong() -> Error {
    crypto("it was sealed with another secret than FLEETLOG_SECRET")
}

fn failed() -> Error {
    crypto("it cannot be sealed or opened")
}

fn crypto(reason: &str) -> Error {
    Error::Crypto { what: "key", reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.parse().expect("a secret")
    }

    #[test]
    fn a_secret_has_32_characters_or_more() {
        for short in ["", " ", "changeme", &"x".repeat(31), &" ".repeat(40)] {
            assert_eq!(short.parse::<Secret>().expect_err("refused"), TooShort, "{short:?}");
        }
        assert!("x".repeat(32).parse::<Secret>().is_ok());
    }

    #[test]
    fn only_the_secret_and_the_name_open_what_was_sealed_with_them() {
        let (one, other) = (secret(&"a".repeat(32)), secret(&"b".repeat(32)));
        let sealed = one.seal("kid", b"private").expect("sealed");
        assert!(is_sealed(&sealed) && !sealed.windows(7).any(|window| window == b"private"));
        assert_eq!(open(Some(&one), "kid", sealed.clone()).expect("opened"), b"private");
        for (secret, name) in [(Some(&other), "kid"), (Some(&one), "another"), (None, "kid")] {
            assert!(open(secret, name, sealed.clone()).is_err(), "{secret:?} {name}");
        }
        for broken in [vec![SEALED], sealed[..20].to_vec()] {
            assert!(open(Some(&one), "kid", broken).is_err());
        }
        assert_eq!(open(None, "kid", vec![0x30, 1]).expect("plain"), [0x30, 1]);
    }
}
