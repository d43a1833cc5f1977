//! What wrong passwords, and other devices' certificates, may cost. A secret has 128 random bits, so nobody guesses one, however many are compared; but
//! each wrong password takes a look-up in the database, for which the right devices wait as well.
//!
//! A device's wrong passwords have an allowance of look-ups. Beyond it a password is compared with the hashes that the
//! last of them has found. Whoever has the right one is not kept out: it is among them, and is then looked up as always, so
//! that a revocation holds at once. Look-ups of one tenant leave room for those of others: see [`LOOKUPS`](super::LOOKUPS).

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use super::Device;
use super::known::{Known, Shown};

/// How many wrong passwords for a device are looked up in a row.
const BURST: u32 = 10;
/// How soon there is one more look-up. Another node's new credential may have to wait for it, while somebody guesses.
const EVERY: Duration = Duration::from_secs(5);
/// How many devices' wrong passwords are remembered; those least recently guessed at are forgotten.
const DEVICES: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// The guesses at all devices' secrets.
pub(super) struct Guesses(Mutex<LruCache<Device, Guessed>>);

struct Guessed {
    /// When the whole allowance is there again.
    whole_at: Instant,
    /// What is kept of the device's credentials, as the last look-up found it.
    known: Vec<Known>,
}

impl Guesses {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(DEVICES)))
    }

    /// Whether what is shown is known to be wrong, so that it is not looked up.
    pub(super) fn is_known_wrong(&self, device: &Device, shown: &Shown<'_>, now: Instant) -> bool {
        let mut devices = self.0.lock();
        let Some(guessed) = devices.get(device) else { return false };
        let is_used_up = guessed.whole_at > now + EVERY * (BURST - 1);
        // Compare every one, so that the time does not reveal which one matched.
        is_used_up && guessed.known.iter().filter(|known| shown.is(known)).count() == 0
    }

    /// Notes that a look-up found these credentials of a device, and that what was shown was none of them.
    pub(super) fn was_wrong(&self, device: &Device, known: Vec<Known>, now: Instant) {
        let mut devices = self.0.lock();
        let before = devices.get(device).map_or(now, |guessed| guessed.whole_at.max(now));
        let whole_at = (before + EVERY).min(now + EVERY * BURST);
        devices.put(device.clone(), Guessed { whole_at, known });
    }

    /// Forgets the credentials of a device, which has a new secret.
    pub(super) fn forget(&self, device: &Device) {
        self.0.lock().pop(device);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    fn device(uid: &str) -> Device {
        format!("t0/{uid}").parse().expect("a device")
    }

    #[test]
    fn beyond_its_allowance_a_wrong_password_is_not_looked_up_and_the_right_one_is() {
        let (guesses, start) = (Guesses::new(), Instant::now());
        let (hash, wrong) = (Secret::random().hash(), Shown::Password(Secret::random().hash()));
        let found = || {
            let kept = [Secret::random().hash(), hash].map(|hash| Known::Secret(hash.as_bytes().to_vec()));
            kept.to_vec()
        };
        let right = Shown::Password(hash);
        for _ in 0..BURST {
            assert!(!guesses.is_known_wrong(&device("dev-01"), &wrong, start));
            guesses.was_wrong(&device("dev-01"), found(), start);
        }
        assert!(guesses.is_known_wrong(&device("dev-01"), &wrong, start));
        assert!(!guesses.is_known_wrong(&device("dev-01"), &right, start), "the right device is let in");
        assert!(!guesses.is_known_wrong(&device("dev-02"), &wrong, start), "another device's allowance");
        let later = start + EVERY;
        assert!(!guesses.is_known_wrong(&device("dev-01"), &wrong, later), "one more");
        guesses.was_wrong(&device("dev-01"), found(), later);
        assert!(guesses.is_known_wrong(&device("dev-01"), &wrong, later));
        guesses.forget(&device("dev-01"));
        assert!(!guesses.is_known_wrong(&device("dev-01"), &wrong, later), "it has a new secret");
    }

    #[test]
    fn the_devices_that_are_remembered_are_bounded() {
        let (guesses, now) = (Guesses::new(), Instant::now());
        for n in 0..=DEVICES.get() {
            guesses.was_wrong(&device(&format!("dev-{n}")), vec![], now);
        }
        assert_eq!(guesses.0.lock().len(), DEVICES.get());
    }
}
