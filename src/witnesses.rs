//! Other parties that are given the logs' checkpoints (`--witness`): their URLs, and the ways to them that the proof does not
//! know.
//!
//! - [`Address`]: which witness a URL names
//! - `parties`: a broker's retained messages, and a mail a day

mod parties;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use fleetlog_access::users::Email;
use fleetlog_event_log::EventLog;
use fleetlog_http_client::url::InvalidUrl;
use fleetlog_http_client::{Client, Url};
use fleetlog_mqtt::url as mqtt;
use fleetlog_proof::note::{Kind, VerifierKey};
use fleetlog_proof::witness::{self, Cosigner, Party, ToFile, Witness};
use percent_encoding::percent_decode_str;

use parties::{ByMail, ToBroker};

/// The most bytes of a witness's URL without its password.
const LONGEST: usize = 500;
/// The longest part of a topic in front of a log's name.
const LONGEST_PREFIX: usize = 200;

/// Where a witness is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A file, or a folder with a file for each day.
    File(PathBuf),
    /// A C2SP tlog-witness, and the key that it signs with.
    Cosigner(Url, VerifierKey),
    /// A broker, and what the topics of retained messages begin with.
    Broker(mqtt::Url, String),
    /// A mail address.
    Mail(Email),
}

/// Why a text names no witness. The text is not repeated: there may be a password in it.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It has another form.
    #[error(
        "a witness is file:///path, https://host/prefix#name+id+key, mqtts://user:password@host/topic-prefix (or mqtt:// \
         without TLS) or mailto:someone@example.org"
    )]
    Form,
    /// It is too long.
    #[error("a witness's URL has at most {LONGEST} bytes, its password and its key aside")]
    TooLong,
    /// The file's path is none.
    #[error("a witness's file is file:///path, with three slashes: a whole path on this machine")]
    Path,
    /// There is no such folder.
    #[error("file://{}: {error}", path.display())]
    Folder {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        error: std::io::Error,
    },
    /// The URL is none.
    #[error("a witness that signs: {0}")]
    Url(InvalidUrl),
    /// There is no key.
    #[error(
        "the witness {0} needs its verifier key behind a #, as its operator gives it: https://host/prefix#name+id+key"
    )]
    NoKey(Url),
    /// The key is none.
    #[error("the witness {0}: what stands behind the # is no verifier key of the form name+id+key")]
    BadKey(Url),
    /// The key signs notes.
    #[error("the witness {0}: {1} is the key of a log; a witness's own has the type 0x04")]
    LogsKey(Url, VerifierKey),
    /// The key is of a kind that cannot be checked here.
    #[error(
        "the witness {0}: its key is one of ML-DSA-44 (type 0x06), which cannot be checked here yet; ask its operator for its \
         Ed25519 key (type 0x04)"
    )]
    PostQuantum(Url),
    /// The broker's address is none.
    #[error(
        "a witness at a broker is mqtts://user:password@host:port/topic-prefix, or mqtt:// without TLS: {0}"
    )]
    Broker(mqtt::InvalidUrl),
    /// The topic is none.
    #[error(
        "the witness {0} needs a topic behind its host, of 1 to {LONGEST_PREFIX} bytes and without + and #: \
         mqtt://host/fleetlog/checkpoints"
    )]
    Topic(String),
    /// The mail address is none.
    #[error("a witness by mail is mailto: and one address, such as mailto:someone@example.org")]
    Mail,
    /// It is named twice.
    #[error("the witness {0} is named twice")]
    Twice(String),
}

impl FromStr for Address {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (scheme, rest) = text.split_once(':').ok_or(Invalid::Form)?;
        let address = match scheme.to_ascii_lowercase().as_str() {
            "file" => file(rest)?,
            "https" | "http" => cosigner(text)?,
            "mqtt" | "mqtts" => broker(text)?,
            "mailto" => {
                let plain = !rest.contains(['?', ',', '/', '%', '<', ';']);
                let email =
                    Email::parse(rest).filter(|email| plain && email.as_str().matches('@').count() == 1);
                Self::Mail(email.ok_or(Invalid::Mail)?)
            }
            _ => return Err(Invalid::Form),
        };
        if address.to_string().len() > LONGEST { Err(Invalid::TooLong) } else { Ok(address) }
    }
}

fn file(rest: &str) -> Result<Address, Invalid> {
    let path = rest.strip_prefix("//").filter(|path| path.starts_with('/') && path.len() > 1);
    let path = path.filter(|path| !path.contains(['?', '#'])).ok_or(Invalid::Path)?;
    let path = PathBuf::from(percent_decode_str(path).decode_utf8().map_err(|_| Invalid::Path)?.into_owned());
    match witness::check_file(&path) {
        Ok(()) => Ok(Address::File(path)),
        Err(error) => Err(Invalid::Folder { path, error }),
    }
}

fn cosigner(text: &str) -> Result<Address, Invalid> {
    let (url, key) = text.split_once('#').map_or((text, None), |(url, key)| (url, Some(key)));
    let url: Url = url.parse().map_err(Invalid::Url)?;
    let Some(key) = key else { return Err(Invalid::NoKey(url)) };
    // The first byte of the key's base64 is its type.
    if key.splitn(3, '+').nth(2).is_some_and(|key| key.starts_with("Bg") || key.starts_with("Bh")) {
        return Err(Invalid::PostQuantum(url));
    }
    let Ok(key) = key.parse::<VerifierKey>() else { return Err(Invalid::BadKey(url)) };
    if key.kind() == Kind::Cosignature {
        Ok(Address::Cosigner(url, key))
    } else {
        Err(Invalid::LogsKey(url, key))
    }
}

fn broker(text: &str) -> Result<Address, Invalid> {
    // A slash in a login is written %2F; the first one behind the host begins the topic.
    let host = text.find('@').or_else(|| text.find("//").map(|at| at + 1)).map_or(0, |at| at + 1);
    let (url, prefix) = match text[host..].find('/') {
        Some(slash) => (&text[..host + slash], &text[host + slash + 1..]),
        None => (text, ""),
    };
    let url: mqtt::Url = url.parse().map_err(Invalid::Broker)?;
    let prefix = prefix.trim_end_matches('/');
    let plain = !prefix.contains(['+', '#', '\0', '?']) && !prefix.starts_with(['/', '$']);
    if plain && (1..=LONGEST_PREFIX).contains(&prefix.len()) {
        Ok(Address::Broker(url, prefix.to_owned()))
    } else {
        Err(Invalid::Topic(url.to_string()))
    }
}

/// What tells a witness from others. Without a password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Cosigner(url, key) => write!(f, "{url}#{}", key.name()),
            Self::Broker(url, prefix) => write!(f, "{url}/{prefix}"),
            Self::Mail(email) => write!(f, "mailto:{}", email.as_str()),
        }
    }
}

/// Reads what an operator has named: witnesses, with commas or spaces between them.
///
/// # Errors
///
/// What is wrong with the first one that is none.
pub fn read(given: &[String]) -> Result<Vec<Address>, Invalid> {
    let mut addresses: Vec<Address> = vec![];
    for text in
        given.iter().flat_map(|given| given.split([',', ' ', '\t', '\n'])).filter(|text| !text.is_empty())
    {
        let address: Address = text.parse()?;
        if addresses.iter().any(|known| known.to_string() == address.to_string()) {
            return Err(Invalid::Twice(address.to_string()));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Why nothing can be sent to a witness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file's folder is gone.
    #[error("{0}")]
    File(#[from] std::io::Error),
    /// There is no client.
    #[error("{0}")]
    Client(#[from] fleetlog_http_client::Error),
}

impl Address {
    /// The task that sends to it.
    ///
    /// # Errors
    ///
    /// [`Error`]
    pub fn witness(self, log: &EventLog) -> Result<Witness, Error> {
        let name = self.to_string();
        let party = match self {
            Self::File(path) => Party::Keeper(Box::new(ToFile::new(path, log.clone())?)),
            Self::Cosigner(url, key) => Party::Cosigner(Box::new(Cosigner::new(Client::new()?, url, key))),
            Self::Broker(url, prefix) => Party::Keeper(Box::new(ToBroker { url, prefix })),
            Self::Mail(email) => Party::Keeper(Box::new(ByMail { email, log: log.clone() })),
        };
        Ok(Witness::new(log.clone(), name, party))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "witness.example/w1+c9e0fd93+BBbyl6uWn7U0tYFrXUtO2eyLaFYrLTcKxOeP5UZlZNjj";

    fn key() -> VerifierKey {
        use fleetlog_proof::note::SigningKey;
        SigningKey::generate("witness.example/w1", Kind::Cosignature).expect("a key").verifier()
    }

    #[test]
    fn a_witness_is_named_by_its_url_without_its_password() {
        let key = key();
        for (text, name) in [
            ("file:///tmp".to_owned(), "file:///tmp"),
            ("file:///tmp/not%20there".to_owned(), "file:///tmp/not there"),
            (format!("https://witness.example/a/#{key}"), "https://witness.example/a#witness.example/w1"),
            (format!("http://127.0.0.1:9#{key}"), "http://127.0.0.1:9#witness.example/w1"),
            ("mqtt://u:p%2Fw@h/a/b/".to_owned(), "mqtt://h:1883/a/b"),
            ("mqtt://[::1]:1884/a".to_owned(), "mqtt://[::1]:1884/a"),
            ("mqtts://u:p@h/a".to_owned(), "mqtts://h:8883/a"),
            ("mailto:Jo@example.org".to_owned(), "mailto:jo@example.org"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).expect(&text), name);
        }
    }

    #[test]
    fn what_is_no_witness_is_refused_with_what_is_wrong() {
        let (key, long) = (key(), format!("mqtt://h/{}", "x".repeat(201)));
        let of_log =
            fleetlog_proof::note::SigningKey::generate("fleetlog-1", Kind::Note).expect("a key").verifier();
        let post_quantum = format!("https://h#w+00000000+Bg{}", "A".repeat(1748));
        for (text, why) in [
            ("", "a witness is file:///path"),
            ("/tmp", "a witness is file:///path"),
            ("ftp://h/x", "a witness is file:///path"),
            ("file://tmp/x", "with three slashes"),
            ("file:///", "with three slashes"),
            ("file:tmp", "with three slashes"),
            ("file:///no/such/folder/x", "there is no folder /no/such/folder"),
            ("file:///no/such/folder/", "there is no folder /no/such/folder/"),
            ("https://h/x", "needs its verifier key"),
            (&format!("http://h#{key}"), "http:// is for this machine only"),
            (&format!("https://u:secret@h#{key}"), "without a user"),
            ("https://h#x+y+z", "is no verifier key"),
            (&format!("https://h#{KEY}"), "is no verifier key"),
            (&format!("https://h#{of_log}"), "is the key of a log"),
            (&post_quantum, "ML-DSA-44"),
            ("mqtt://u:secret@h", "needs a topic"),
            ("mqtt://h/", "needs a topic"),
            ("mqtt://h/a/#", "needs a topic"),
            ("mqtt://h/$SYS", "needs a topic"),
            (&long, "needs a topic"),
            ("mqtts://u:secret@h:x/a", "mqtts://user:password@host"),
            ("mailto:", "one address"),
            ("mailto:jo", "one address"),
            ("mailto:jo@a.example,bo@a.example", "one address"),
            ("mailto:jo@a.example?cc=bo@a.example", "one address"),
        ] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn several_witnesses_stand_behind_each_other_and_each_once() {
        let text =
            ["mailto:a@x.example, mailto:b@x.example".to_owned(), "file:///tmp\tmqtt://h/x".to_owned()];
        assert_eq!(read(&text).expect("four").len(), 4);
        let twice = read(&["mqtt://a:b@h/x,mqtt://c:d@h:1883/x".to_owned()]).expect_err("twice").to_string();
        assert_eq!(twice, "the witness mqtt://h:1883/x is named twice");
    }
}
