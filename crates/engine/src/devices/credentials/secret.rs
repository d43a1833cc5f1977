//! Secrets of devices: 128 random bits, stored as a hash only. Nobody can guess that many bits, so a fast hash is
//! enough.

use std::fmt;

use fleetlog_access::secret;

/// The prefix of every secret, so that scanners find one that leaked.
const PREFIX: &str = "fld_";
/// The longest password that is hashed, in bytes, which bounds the cost of a login.
const MAX: usize = 128;

/// A secret. Shown once, to the caller who requested it, and never formatted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The hash of a secret.
#[derive(Clone, Copy)]
pub struct Hash([u8; 32]);

impl Secret {
    /// A new random secret.
    #[must_use]
    pub fn random() -> Self {
        let bits: [u8; 16] = rand::random();
        Self(secret::text(PREFIX, &bits))
    }

    /// The secret's text, to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The hash to store.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }

    /// Whether a password is this secret, in constant time.
    #[must_use]
    pub fn is(&self, password: &[u8]) -> bool {
        Hash::of_password(password).is_some_and(|hash| self.hash().is(hash.as_bytes()))
    }
}

/// fleetlog's own login at an external broker, in a form that can only be compared with.
#[derive(Clone)]
pub struct ServiceLogin {
    user: String,
    /// `None` for a password longer than any secret may be.
    password: Option<Hash>,
}

impl ServiceLogin {
    /// A login with this user name and password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: &str) -> Self {
        Self { user: user.into(), password: Hash::of_password(password.as_bytes()) }
    }

    /// Whether these are the login's user name and password.
    #[must_use]
    pub fn is(&self, user: &str, password: &str) -> bool {
        let given = Hash::of_password(password.as_bytes());
        given.zip(self.password).is_some_and(|(given, known)| given.is(known.as_bytes()) && self.user == user)
    }

    /// Whether this is the login's user name.
    #[must_use]
    pub fn is_of(&self, user: &str) -> bool {
        self.user == user
    }
}

/// Omits the password.
impl fmt::Debug for ServiceLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Hash {
    fn of(secret: &[u8]) -> Self {
        Self(secret::digest_of(secret))
    }

    /// The hash of a password that was sent; `None` if it is longer than any secret may be.
    #[must_use]
    pub fn of_password(password: &[u8]) -> Option<Self> {
        (password.len() <= MAX).then(|| Self::of(password))
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the stored hash, in constant time.
    #[must_use]
    pub fn is(&self, stored: &[u8]) -> bool {
        secret::same(&self.0, stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_own_password_and_no_other() {
        let (secret, other) = (Secret::random(), Secret::random());
        assert_eq!((secret.reveal().len(), secret.reveal().starts_with("fld_")), (26, true));
        assert!(secret.is(secret.reveal().as_bytes()));
        for wrong in [other.reveal().as_bytes(), b"", &secret.reveal().as_bytes()[..25], &[b'x'; 4096]] {
            assert!(!secret.is(wrong));
        }
    }

    #[test]
    fn a_secret_is_not_formatted() {
        assert_eq!(format!("{:?}", Secret::random()), "Secret(…)");
    }
}
