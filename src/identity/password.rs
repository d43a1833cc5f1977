//! Passwords: argon2id hashes, made and checked on blocking threads, a few at a time.
//!
//! 19 MiB, two passes, one lane (the OWASP minimum): about 24 ms on the reference machine. Device tokens are random
//! and never come through here.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use rand::distr::{Alphanumeric, SampleString};
use tokio::sync::Semaphore;

use super::Error;

/// The shortest password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// The longest password, in bytes: hashing must cost the same for everyone.
pub const MAX_PASSWORD: usize = 256;
/// How many hashes are computed at once: each takes a core and 19 MiB.
const AT_ONCE: usize = 2;
/// Letters and digits in a generated password: 119 bits.
const GENERATED: usize = 20;

/// The hash of no password: what an unknown user's attempt is checked against, so that it costs the same. Nobody is
/// let in by it, whatever matches.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$\
    AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password that is too easy to guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a password has {MIN_PASSWORD} characters or more, at least five of them different, and at most {MAX_PASSWORD} bytes"
)]
pub struct Weak;

/// Hashes and checks passwords. Cheap to clone; clones share the limit.
#[derive(Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// The hash to store for a password.
    pub async fn hash(&self, password: String) -> Result<String, Error> {
        self.run(move || hash_now(&password)).await
    }

    /// Whether the password is the one that was hashed. Without a hash, the answer is no, and takes as long.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Error> {
        self.run(move || verify_now(&password, hash.as_deref())).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|error| crypto(&error))?;
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work, not by its caller, who may leave.
            let _place = place;
            work()
        });
        task.await.map_err(|error| crypto(&error))?
    }
}

/// Refuses a password that is too easy to guess.
pub fn check(password: &str) -> Result<(), Weak> {
    let different: std::collections::HashSet<char> = password.chars().collect();
    let acceptable =
        password.chars().count() >= MIN_PASSWORD && password.len() <= MAX_PASSWORD && different.len() >= 5;
    if acceptable { Ok(()) } else { Err(Weak) }
}

/// A new random password.
#[must_use]
pub fn generate() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), GENERATED)
}

fn argon2id() -> Argon2<'static> {
    // Pinned here, whatever the crate's defaults become.
    const PARAMS: Params = match Params::new(19 * 1024, 2, 1, None) {
        Ok(params) => params,
        Err(_) => panic!("the parameters are in range"),
    };
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

fn hash_now(password: &str) -> Result<String, Error> {
    let hash: PasswordHash = argon2id().hash_password(password.as_bytes()).map_err(|error| crypto(&error))?;
    Ok(hash.to_string())
}

fn verify_now(password: &str, hash: Option<&str>) -> Result<bool, Error> {
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODYS)).map_err(|error| crypto(&error))?;
    let matches = argon2id().verify_password(password.as_bytes(), &parsed).is_ok();
    Ok(matches && hash.is_some())
}

fn crypto(error: &dyn std::error::Error) -> Error {
    Error::Crypto { what: "password hash", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_matches() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse battery".into()).await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = |password: &str, hash| passwords.verify(password.into(), hash);
        assert!(verify("correct horse battery", Some(hash.clone())).await.expect("checks"));
        assert!(!verify("correct horse batterz", Some(hash)).await.expect("checks"));
        assert!(!verify("correct horse battery", None).await.expect("checks"));
    }

    #[test]
    fn a_password_that_is_easy_to_guess_is_refused() {
        for weak in ["", "short", "elevenchars", "aaaaaaaaaaaa", "abababababab", &"long password ".repeat(20)]
        {
            assert_eq!(check(weak), Err(Weak), "{weak}");
        }
        for good in ["correct horse battery", "Tr0ub4dor&3xyz", &generate()] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }
}
