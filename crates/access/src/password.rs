//! Passwords: argon2id hashes, made and checked on blocking threads, a few at a time.
//!
//! 19 MiB, two passes, one lane (the OWASP minimum): about 24 ms on the reference machine. Device tokens are random
//! and never come through here.

mod hasher;

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{PasswordHasher, PasswordVerifier};
use rand::distr::{Alphanumeric, SampleString};
use tokio::sync::Semaphore;
use zxcvbn::{Score, zxcvbn};

use super::error::Error;
use hasher::Hasher;

/// The shortest password, in characters.
pub const MIN_PASSWORD: usize = 12;
/// The longest password, in bytes: hashing must cost the same for everyone.
pub const MAX_PASSWORD: usize = 256;
/// How many hashes are computed at once: each takes a core and 19 MiB.
const AT_ONCE: usize = 2;
/// How hard to guess a password must be: more than 10^8 guesses.
const STRONG: Score = Score::Three;
/// Letters and digits in a generated password: 119 bits.
const GENERATED: usize = 20;

/// The hash of no password: what an unknown user's attempt is checked against, so that it costs the same. Nobody is
/// let in by it, whatever matches.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$\
    AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// Too short or too long.
    #[error("a password has {MIN_PASSWORD} characters or more, and at most {MAX_PASSWORD} bytes")]
    Length,
    /// Too easy to guess, and why.
    #[error("this is too easy to guess{0}")]
    Guessable(String),
}

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

    /// The hash to store for a new password, unless it is too easy to guess for who knows what `known` says of its user.
    pub async fn accept(&self, password: String, known: Vec<String>) -> Result<Result<String, Weak>, Error> {
        self.run(move || match check(&password, &known) {
            Ok(()) => hash_now(&password).map(Ok),
            Err(weak) => Ok(Err(weak)),
        })
        .await
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

/// Refuses a password that is too easy to guess: by zxcvbn, with what is known of its user. Takes milliseconds.
fn check(password: &str, known: &[String]) -> Result<(), Weak> {
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(Weak::Length);
    }
    // Also the parts: whoever knows `jo.smith@example.com` tries `jo.smith` and `smith`.
    let parts =
        known.iter().flat_map(|text| text.split('@').chain(text.split(|c: char| !c.is_alphanumeric())));
    let inputs: Vec<&str> =
        known.iter().map(String::as_str).chain(parts).filter(|part| part.len() > 2).collect();
    let guessed = zxcvbn(password, &inputs);
    if guessed.score() >= STRONG {
        return Ok(());
    }
    let (warning, suggestion) = guessed.feedback().map_or((None, None), |feedback| {
        (feedback.warning().map(|w| w.to_string()), feedback.suggestions().first().map(ToString::to_string))
    });
    let why: Vec<String> =
        warning.into_iter().chain(suggestion).map(|sentence| fragment(&sentence)).collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
    Err(Weak::Guessable(why))
}

/// Sentences as a part of one: without capitals and full stops.
fn fragment(sentences: &str) -> String {
    let fragment = |sentence: &str| {
        let mut letters = sentence.chars();
        letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
    };
    sentences.trim_end_matches('.').split(". ").map(fragment).collect::<Vec<_>>().join("; ")
}

/// A new random password.
#[must_use]
pub fn generate() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), GENERATED)
}

fn hash_now(password: &str) -> Result<String, Error> {
    let hash: PasswordHash = Hasher.hash_password(password.as_bytes()).map_err(|error| crypto(&error))?;
    Ok(hash.to_string())
}

fn verify_now(password: &str, hash: Option<&str>) -> Result<bool, Error> {
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODYS)).map_err(|error| crypto(&error))?;
    let matches = Hasher.verify_password(password.as_bytes(), &parsed).is_ok();
    Ok(matches && hash.is_some())
}

fn crypto(error: &dyn std::error::Error) -> Error {
    Error::Crypto { what: "password hash", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_of_argon2s_own_matches() {
        let theirs: PasswordHash =
            argon2::Argon2::default().hash_password(b"correct horse battery").expect("hashes");
        assert!(verify_now("correct horse battery", Some(&theirs.to_string())).expect("checks"));
    }

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
    fn a_password_that_is_easy_to_guess_is_refused_and_told_why() {
        for bad in ["", "short", "elevenchars", &"long password ".repeat(20)] {
            assert_eq!(check(bad, &[]), Err(Weak::Length), "{bad}");
        }
        let refusal = |password: &str| check(password, &[]).expect_err("weak").to_string();
        insta::assert_snapshot!(refusal("aaaaaaaaaaaa"), @r#"this is too easy to guess: repeats like "aaa" are easy to guess; add another word or two; uncommon words are better"#);
        insta::assert_snapshot!(refusal("Password1234"), @"this is too easy to guess: this is similar to a commonly used password; add another word or two; uncommon words are better");
        insta::assert_snapshot!(refusal("qwertyuiop[]"), @"this is too easy to guess: straight rows of keys are easy to guess; add another word or two; uncommon words are better");
        for good in ["correct horse battery", "Tr0ub4dor&3xyz", &generate()] {
            assert_eq!(check(good, &[]), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_known_of_a_user_makes_a_password_easy_to_guess() {
        let password = "zdenka.hrubesova";
        assert_eq!(check(password, &[]), Ok(()));
        let known = ["zdenka.hrubesova@example.com".to_owned()];
        assert!(matches!(check(password, &known), Err(Weak::Guessable(_))));
    }
}
