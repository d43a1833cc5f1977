//! Secrets of devices: 128 random bits, of which only a hash is stored. There is nothing to guess, so the hash is a
//! fast one.

use std::fmt;

use fleetlog_access::secret;

/// What every secret begins with, so that one which got where it does not belong can be found.
const PREFIX: &str = "fld_";
/// The longest password that is looked at, in bytes: whatever is sent costs the same.
const MAX: usize = 128;

/// A secret. It is shown once, to whoever asked for it, and never formatted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The hash of a secret.
#[derive(Clone, Copy)]
pub struct Hash([u8; 32]);

impl Secret {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        let bits: [u8; 16] = rand::random();
        Self(secret::text(PREFIX, &bits))
    }

    /// Its text, to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash, to be stored.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }

    /// Whether a password is this secret. Takes as long whichever part of it is wrong.
    #[must_use]
    pub fn is(&self, password: &[u8]) -> bool {
        Hash::of_password(password).is_some_and(|hash| self.hash().is(hash.as_bytes()))
    }
}

/// fleetlog's own login at an external broker, as far as it takes to recognise it.
#[derive(Clone)]
pub struct ServiceLogin {
    user: String,
    /// `None` for a password that is too long to be anybody's.
    password: Option<Hash>,
}

impl ServiceLogin {
    /// A login of this user and this password.
    #[must_use]
    pub fn new(user: impl Into<String>, password: &str) -> Self {
        Self { user: user.into(), password: Hash::of_password(password.as_bytes()) }
    }

    /// Whether these are its user and its password.
    #[must_use]
    pub fn is(&self, user: &str, password: &str) -> bool {
        let given = Hash::of_password(password.as_bytes());
        given.zip(self.password).is_some_and(|(given, known)| given.is(known.as_bytes()) && self.user == user)
    }

    /// Whether this is its user.
    #[must_use]
    pub fn is_of(&self, user: &str) -> bool {
        self.user == user
    }
}

/// Without the password.
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

    /// The hash of what somebody sent; `None` of what no secret is as long as.
    #[must_use]
    pub fn of_password(password: &[u8]) -> Option<Self> {
        (password.len() <= MAX).then(|| Self::of(password))
    }

    /// As it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is that stored one. Takes as long whichever part of it differs.
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
