//! The hashes of RFC 6962, section 2.1: SHA-256, with a byte before what is hashed that tells leaves from nodes.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes of a hash.
pub const LEN: usize = 32;

/// The hash of a leaf or of a subtree. Shown in base64, as checkpoints have it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; LEN]);

impl Hash {
    /// The root of a tree without leaves.
    #[must_use]
    pub fn empty() -> Self {
        Self::of(&[])
    }

    /// The hash of two neighbouring subtrees.
    #[must_use]
    pub fn node(left: Self, right: Self) -> Self {
        let mut bytes = [0; 1 + 2 * LEN];
        bytes[0] = 1;
        bytes[1..=LEN].copy_from_slice(&left.0);
        bytes[1 + LEN..].copy_from_slice(&right.0);
        Self::of(&bytes)
    }

    /// Reads the form that [`struct@Hash`] is shown in.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// Reads 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let hash = digest(&SHA256, bytes);
        // SHA-256 has 32 bytes, whatever it hashes.
        Self(hash.as_ref().try_into().unwrap_or_default())
    }
}

/// Hashes leaves, one after the other, into a buffer that is kept.
#[derive(Default)]
pub struct LeafHasher(Vec<u8>);

impl LeafHasher {
    /// The hash of the leaf with this record.
    pub fn leaf(&mut self, record: &[u8]) -> Hash {
        self.0.clear();
        self.0.push(0);
        self.0.extend_from_slice(record);
        Hash::of(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
