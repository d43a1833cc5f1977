//! Signed notes, checkpoints and cosignatures, as C2SP defines them: [signed-note](https://c2sp.org/signed-note),
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint) and [tlog-cosignature](https://c2sp.org/tlog-cosignature).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetlog_event_log::LogId;

use crate::hash::Hash;

/// The most signatures of a note that are read. The specification asks for 16 at least.
pub const SIGNATURES: usize = 32;
/// The most bytes of a witness's line. One of the post-quantum signature ML-DSA-44 has some 3,500.
pub const COSIGNATURE: usize = 4096;
/// The bytes of the shortest cosignature: the key's id, the time and an Ed25519 signature.
const SHORTEST: usize = 4 + 8 + SIGNATURE;
/// The bytes of an Ed25519 key, public or private.
const KEY: usize = 32;
/// What the text of a private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// The bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Notes: a log signs its checkpoints so.
    Note = 1,
    /// Checkpoints with the time at which they were seen: a witness signs so.
    Cosignature = 4,
}

/// What is wrong with a note, a checkpoint or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no note.
    #[error("this is no signed note: three lines, an empty line, and at least one signature")]
    NoNote,
    /// The note is no checkpoint.
    #[error("this is no checkpoint: its lines are the log's name, its size and its root in base64")]
    NoCheckpoint,
    /// It is no key.
    #[error("this is no verifier key: its form is name+id+key, as `fleetlog audit key` prints it")]
    NoKey,
    /// It is no private key.
    #[error("this is no private key: its form is PRIVATE+KEY+name+id+key")]
    NoPrivateKey,
    /// A key's name is none.
    #[error("a key's name has 1 to 200 letters, digits and -._/")]
    BadName,
    /// None of the known keys has signed.
    #[error("it is not signed by this key")]
    Unsigned,
    /// A signature is wrong.
    #[error("the signature is wrong")]
    BadSignature,
}

/// A public key with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    key: [u8; KEY],
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:".contains(&byte);
    (1..=200).contains(&name.len()) && name.bytes().all(plain)
}

/// The name of a log's checkpoints.
#[must_use]
pub fn origin(installation: &str, log_id: LogId) -> String {
    format!("{installation}/{log_id}")
}

/// The id of the log that a checkpoint's origin names. `None` if it names none.
#[must_use]
pub fn log_of(origin: &str) -> Option<LogId> {
    origin.rsplit_once('/').and_then(|(_, id)| id.parse().ok()).map(LogId)
}

impl VerifierKey {
    /// The key's name: an installation's, a log's or a witness's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key signs.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The name of the checkpoints of a log by this key: an installation's, or that log's own.
    #[must_use]
    pub fn origin_of(&self, log_id: LogId) -> String {
        if log_of(&self.name) == Some(log_id) { self.name.clone() } else { origin(&self.name, log_id) }
    }

    /// The key of one of the installation's logs. A key that is a log's already stays as it is.
    #[must_use]
    pub fn of_log(&self, origin: &str) -> Self {
        let own = origin.rsplit_once('/').is_some_and(|(installation, _)| installation == self.name);
        let name = if own { origin.to_owned() } else { self.name.clone() };
        Self { name, ..self.clone() }
    }

    fn id(&self) -> [u8; 4] {
        let text = [self.name.as_bytes(), &[b'\n', self.kind as u8], &self.key].concat();
        let hash = digest(&SHA256, &text);
        let mut id = [0; 4];
        id.copy_from_slice(&hash.as_ref()[..4]);
        id
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(message, signature)
            .map_err(|_| Error::BadSignature)
    }
}

/// The text of a key, private or public: its name, its id, and in base64 its kind and its bytes.
fn write_key(name: &str, id: [u8; 4], kind: Kind, key: &[u8; KEY]) -> String {
    let key = STANDARD.encode([&[kind as u8], &key[..]].concat());
    format!("{name}+{:08x}+{key}", u32::from_be_bytes(id))
}

/// Reads the name, the kind and the bytes from the text of a key. The id is for the caller to check, by writing it again.
fn read_key(text: &str) -> Option<(&str, Kind, [u8; KEY])> {
    let mut parts = text.splitn(3, '+');
    let (name, _, key) = (parts.next()?, parts.next()?, parts.next()?);
    let key = STANDARD.decode(key).ok()?;
    let (kind, key) = key.split_first()?;
    let kind = [Kind::Note, Kind::Cosignature].into_iter().find(|known| *known as u8 == *kind)?;
    Some((name, kind, key.try_into().ok()?))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_key(&self.name, self.id(), self.kind, &self.key))
    }
}

impl FromStr for VerifierKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, kind, key) = read_key(text.trim()).ok_or(Error::NoKey)?;
        let key = Self { name: name.to_owned(), kind, key };
        if key.to_string() == text.trim() && is_name(name) { Ok(key) } else { Err(Error::NoKey) }
    }
}

/// A private key with its name. It is never shown.
pub struct SigningKey {
    name: String,
    kind: Kind,
    seed: [u8; KEY],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`].
    pub fn generate(name: &str, kind: Kind) -> Result<Self, Error> {
        let mut seed = [0; KEY];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| Error::NoPrivateKey)?;
        Self::from_seed(name, kind, seed)
    }

    fn from_seed(name: &str, kind: Kind, seed: [u8; KEY]) -> Result<Self, Error> {
        if !is_name(name) {
            return Err(Error::BadName);
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| Error::NoPrivateKey)?;
        Ok(Self { name: name.to_owned(), kind, seed, pair })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        let mut key = [0; KEY];
        key.copy_from_slice(self.pair.public_key().as_ref());
        VerifierKey { name: self.name.clone(), kind: self.kind, key }
    }

    /// The text that [`SigningKey::from_str`] reads: the form of Go's `note` package.
    #[must_use]
    pub fn to_secret(&self) -> String {
        PRIVATE.to_owned() + &write_key(&self.name, self.verifier().id(), self.kind, &self.seed)
    }

    /// Signs a checkpoint as its log: the note, ready to be shown.
    #[must_use]
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let body = checkpoint.body();
        let id = self.verifier().of_log(&checkpoint.origin).id();
        let signature = self.pair.sign(body.as_bytes());
        let line = signature_line(&checkpoint.origin, &[&id, signature.as_ref()]);
        format!("{body}\n{line}")
    }

    /// Signs a checkpoint as a witness, at a time in seconds since 1970: the line to add to the note.
    #[must_use]
    pub fn cosign(&self, checkpoint: &Checkpoint, seconds: u64) -> String {
        let message = cosigned(seconds, &checkpoint.body());
        let signature = self.pair.sign(message.as_bytes());
        signature_line(&self.name, &[&self.verifier().id(), &seconds.to_be_bytes(), signature.as_ref()])
    }
}

impl FromStr for SigningKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.trim().strip_prefix(PRIVATE).and_then(read_key);
        let (name, kind, seed) = parts.ok_or(Error::NoPrivateKey)?;
        let key = Self::from_seed(name, kind, seed)?;
        if key.to_secret() == text.trim() { Ok(key) } else { Err(Error::NoPrivateKey) }
    }
}

/// What a witness signs.
fn cosigned(seconds: u64, body: &str) -> String {
    format!("cosignature/v1\ntime {seconds}\n{body}")
}

fn signature_line(name: &str, parts: &[&[u8]]) -> String {
    format!("\u{2014} {name} {}\n", STANDARD.encode(parts.concat()))
}

/// A log's root at a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// The number of leaves, and so the last position.
    pub size: u64,
    /// The root.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    fn parse(body: &str) -> Result<Self, Error> {
        let mut lines = body.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Error::NoCheckpoint);
        };
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: size.parse().map_err(|_| Error::NoCheckpoint)?,
            root: Hash::parse(root).ok_or(Error::NoCheckpoint)?,
        };
        // Ours have no further lines, and no number in another spelling.
        if checkpoint.body() == body && is_name(origin) { Ok(checkpoint) } else { Err(Error::NoCheckpoint) }
    }
}

/// A checkpoint with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// The names, and what stands behind them.
    signatures: Vec<(String, Vec<u8>)>,
    text: String,
}

impl SignedCheckpoint {
    /// The note, as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The note with nothing but its log's own signature.
    ///
    /// # Errors
    ///
    /// [`Error::Unsigned`] if there is none in the log's name.
    pub fn bare(&self) -> Result<String, Error> {
        let (body, signatures) = self.text.split_once("\n\n").ok_or(Error::NoNote)?;
        let own = format!("\u{2014} {} ", self.checkpoint.origin);
        let line = signatures.lines().find(|line| line.starts_with(&own)).ok_or(Error::Unsigned)?;
        Ok(format!("{body}\n\n{line}\n"))
    }

    /// How many signatures there are.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    /// Checks that one of the keys has signed, and that no signature of a known key is wrong. Returns the key that has
    /// signed.
    ///
    /// # Errors
    ///
    /// [`Error::Unsigned`] or [`Error::BadSignature`].
    pub fn verify<'a>(&self, keys: &'a [VerifierKey]) -> Result<&'a VerifierKey, Error> {
        let mut signer = None;
        for key in keys {
            if self.is_signed_by(key)? {
                signer = signer.or(Some(key));
            }
        }
        signer.ok_or(Error::Unsigned)
    }

    fn is_signed_by(&self, key: &VerifierKey) -> Result<bool, Error> {
        let known = match key.kind {
            Kind::Note => key.of_log(&self.checkpoint.origin),
            Kind::Cosignature => key.clone(),
        };
        let (id, body, mut signed) = (known.id(), self.checkpoint.body(), false);
        for (name, signature) in &self.signatures {
            let Some(signature) = signature.strip_prefix(&id).filter(|_| *name == known.name) else {
                continue;
            };
            match known.kind {
                Kind::Note => known.verify(body.as_bytes(), signature)?,
                Kind::Cosignature => {
                    let (seconds, signature) = signature.split_first_chunk().ok_or(Error::BadSignature)?;
                    let seconds = u64::from_be_bytes(*seconds);
                    let message = cosigned(seconds, &body);
                    known.verify(message.as_bytes(), signature)?;
                }
            }
            signed = true;
        }
        Ok(signed)
    }
}

impl FromStr for SignedCheckpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (body, signatures) = text.split_once("\n\n").ok_or(Error::NoNote)?;
        let checkpoint = Checkpoint::parse(&format!("{body}\n"))?;
        let line = |line: &str| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let signature = STANDARD.decode(signature).ok().filter(|bytes| bytes.len() >= 4 + SIGNATURE)?;
            Some((name.to_owned(), signature))
        };
        let signatures: Option<Vec<_>> = signatures.lines().map(line).collect();
        let signatures = signatures.filter(|found| (1..=SIGNATURES).contains(&found.len()));
        Ok(Self { checkpoint, signatures: signatures.ok_or(Error::NoNote)?, text: text.to_owned() })
    }
}

/// A line of a witness, with the form of a cosignature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    name: String,
    id: [u8; 4],
    seconds: u64,
    text: String,
}

impl Cosignature {
    /// Reads a line, with or without a newline at its end. `None` if it has not the form of a cosignature.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\n').unwrap_or(line);
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = STANDARD.decode(signature).ok().filter(|bytes| bytes.len() >= SHORTEST)?;
        let (id, rest) = bytes.split_first_chunk()?;
        let (id, seconds) = (*id, u64::from_be_bytes(*rest.first_chunk()?));
        let plain =
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
        let text = format!("{line}\n");
        (plain && text.len() <= COSIGNATURE).then(|| Self { name: name.to_owned(), id, seconds, text })
    }

    /// Whether it is said to be by this key. Whether it is, [`SignedCheckpoint::verify`] says.
    #[must_use]
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.name == key.name && self.id == key.id()
    }

    /// When the witness says that it signed, in seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line, with a newline at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a note has a line by this key.
    #[must_use]
    pub fn is_on(&self, note: &SignedCheckpoint) -> bool {
        note.signatures.iter().any(|(name, signature)| *name == self.name && signature.starts_with(&self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../docs/PROOF.md");

    fn example_key() -> SigningKey {
        let seed: Vec<u8> = (0..32).collect();
        SigningKey::from_seed("fleetlog-example", Kind::Note, seed.try_into().expect("32 bytes"))
            .expect("key")
    }

    fn example() -> Checkpoint {
        let root = Hash::parse("veJSUyBrslDP5mg59n5Em4eLdapb3lCoXC8yxLRWRqg=").expect("hash");
        Checkpoint { origin: origin("fleetlog-example", LogId(2)), size: 3, root }
    }

    #[test]
    fn a_checkpoint_and_its_keys_are_those_of_the_documents_example() {
        let (key, note) = (example_key(), example_key().sign(&example()));
        assert!(DOCUMENT.contains(&note), "{note}");
        let (installation, log) = (key.verifier(), key.verifier().of_log("fleetlog-example/2"));
        assert!(DOCUMENT.contains(&installation.to_string()) && DOCUMENT.contains(&log.to_string()), "{log}");
        assert_eq!(log_of("fleetlog-example/2"), Some(LogId(2)));
    }

    #[test]
    fn the_specifications_own_note_is_signed_by_its_key() {
        let key: VerifierKey =
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse().expect("key");
        let signature =
            "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";
        let signature = STANDARD.decode(signature).expect("base64");
        let signature = signature.strip_prefix(&key.id()).expect("the key's id");
        assert_eq!(key.verify(b"This is an example message.\n", signature), Ok(()));
        assert_eq!(key.verify(b"This is another message.\n", signature), Err(Error::BadSignature));
    }

    #[test]
    fn keys_and_notes_are_read_as_they_are_written() {
        let key = example_key();
        assert_eq!(
            key.to_secret().parse::<SigningKey>().map(|again| again.verifier()).ok(),
            Some(key.verifier())
        );
        assert_eq!(key.verifier().to_string().parse(), Ok(key.verifier()));
        let note: SignedCheckpoint = key.sign(&example()).parse().expect("note");
        assert_eq!(note.checkpoint, example());
        assert_eq!(note.text(), key.sign(&example()));
        for key in ["", "a+b", "fleetlog-example+8505152e+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"] {
            assert_eq!(key.parse::<VerifierKey>(), Err(Error::NoKey), "{key}");
            assert!(key.parse::<SigningKey>().is_err());
        }
        for text in ["", "a\n\n", "a\n1\nb\n\n\u{2014} a YWFh\n", "a\n01\n\n"] {
            assert!(text.parse::<SignedCheckpoint>().is_err(), "{text}");
        }
        assert!(SigningKey::generate("a b", Kind::Note).is_err());
    }

    #[test]
    fn a_witnesss_line_is_one_of_a_cosignatures_form_and_bounded_length() {
        let witness = SigningKey::generate("witness.example/w1", Kind::Cosignature).expect("key");
        let line = witness.cosign(&example(), 1_700_000_000);
        let read = Cosignature::parse(&line).expect("a cosignature");
        assert_eq!((read.name(), read.text()), ("witness.example/w1", line.as_str()));
        assert_eq!(Cosignature::parse(line.trim_end()), Some(read.clone()));
        let note = example_key().sign(&example());
        let with = |text: &str| text.parse::<SignedCheckpoint>().expect("a note");
        assert!(!read.is_on(&with(&note)) && read.is_on(&with(&(note.clone() + &line))));
        let long = format!("\u{2014} w {}", STANDARD.encode([7; COSIGNATURE]));
        let own = note.lines().last().expect("a signature");
        for other in ["", "x", &line[3..], &line.replace(' ', "  "), &(line.clone() + &line), &long, own] {
            assert_eq!(Cosignature::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_signature_counts_if_it_is_by_a_known_key_and_right() {
        let (key, other) =
            (example_key(), SigningKey::generate("fleetlog-example", Kind::Note).expect("key"));
        let witness = SigningKey::generate("auditor", Kind::Cosignature).expect("key");
        let keys = [key.verifier()];
        let text = key.sign(&example()) + &witness.cosign(&example(), 1_795_181_567);
        let note: SignedCheckpoint = text.parse().expect("note");
        assert_eq!(note.verify(&keys), Ok(&keys[0]));
        assert_eq!(
            note.verify(&[keys[0].of_log("fleetlog-example/2")]).map(VerifierKey::name),
            Ok("fleetlog-example/2")
        );
        assert!(note.verify(&[witness.verifier()]).is_ok());
        assert_eq!(note.verify(&[other.verifier()]), Err(Error::Unsigned));
        assert_eq!(note.verify(&[]), Err(Error::Unsigned));
        let forged: SignedCheckpoint = text.replace("\n3\n", "\n4\n").parse().expect("note");
        assert_eq!(forged.verify(&keys), Err(Error::BadSignature));
        assert_eq!(forged.verify(&[witness.verifier()]), Err(Error::BadSignature));
    }
}
