//! A witness that signs: [C2SP tlog-witness](https://c2sp.org/tlog-witness), `add-checkpoint`.
//!
//! It is told from which size a log has grown, with the proof that the larger log begins with the smaller one, and answers
//! with its signature. It keeps what it signed last, so it signs neither a fork nor a rollback.

use std::time::Duration;

use bytes::Bytes;
use fleetlog_event_log::{EventLog, LogId};
use fleetlog_http_client::{Client, Limits, Url};
use http::{Request, Response, StatusCode};

use super::Failure;
use crate::Error;
use crate::note::{COSIGNATURE, Cosignature, SIGNATURES, SignedCheckpoint, VerifierKey};
use crate::read;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of an answer: as many signatures as a note may have.
const ANSWER: usize = SIGNATURES * COSIGNATURE;
/// How often it may name another size than the one that was sent, for one checkpoint.
const CONFLICTS: u32 = 3;
/// The most characters of an answer that are repeated to an operator.
const REPEATED: usize = 200;

/// A witness, by its URL and its key.
pub struct Cosigner {
    client: Client,
    url: Url,
    key: VerifierKey,
}

/// A checkpoint that a witness has signed.
pub(super) struct Signed {
    pub(super) note: SignedCheckpoint,
    pub(super) line: Cosignature,
}

impl Cosigner {
    /// A witness at a URL, whose signatures are checked with its key.
    #[must_use]
    pub fn new(client: Client, url: Url, key: VerifierKey) -> Self {
        Self { client, url, key }
    }

    /// Has the newest checkpoint of a log signed, of which the witness is thought to have signed `old` events.
    pub(super) async fn sign(
        &self,
        log: &EventLog,
        log_id: LogId,
        mut old: u64,
        mut note: SignedCheckpoint,
    ) -> Result<Signed, Failure> {
        // Of a log that was taken back, the witness tells itself that it has signed more.
        old = old.min(note.checkpoint.size);
        for _ in 0..CONFLICTS {
            let answer = self.add_checkpoint(log, log_id, old, &note).await?;
            let size = note.checkpoint.size;
            match answer.status() {
                StatusCode::OK => return self.signed(note, &answer),
                StatusCode::CONFLICT => {
                    old = told_size(&answer)?;
                    if old > size {
                        // Another node may have sent a newer checkpoint meanwhile.
                        note = newest(log, log_id).await?.unwrap_or(note);
                    }
                    if old > note.checkpoint.size {
                        return Err(Failure::Disputed(format!(
                            "it has signed {old} events of log {log_id}, and here are {}: the log was taken back, for \
                             example with a backup, or somebody else signs with its key. `fleetlog audit verify` says what \
                             is here; ask the witness's operator for its checkpoint",
                            note.checkpoint.size
                        )));
                    }
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(Failure::Disputed(format!(
                        "it says that log {log_id} with {size} events does not go on from the {old} that it has signed, so \
                         it has seen another history under this key. `fleetlog audit verify` says what is here; ask the \
                         witness's operator for its checkpoint"
                    )));
                }
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => {
                    let key = read::key(log).await.map_err(unread)?;
                    let key = key.map_or_else(String::new, |key| read::key_of(&key, log_id).to_string());
                    return Err(Failure::Refused(format!(
                        "it does not know log {log_id} or its key: give its operator the log's verifier key, {key}"
                    )));
                }
                status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                    return Err(Failure::Unreachable(said(&answer)));
                }
                _ => return Err(Failure::Refused(said(&answer))),
            }
        }
        Err(Failure::Refused(format!(
            "it names another size of log {log_id} each time; does somebody else send to it, too?"
        )))
    }

    async fn add_checkpoint(
        &self,
        log: &EventLog,
        log_id: LogId,
        old: u64,
        note: &SignedCheckpoint,
    ) -> Result<Response<Bytes>, Failure> {
        let size = note.checkpoint.size;
        let proof = read::consistency(log, log_id, old, Some(size)).await.map_err(unread)?;
        let proof = proof.map(|proof| proof.hashes).unwrap_or_default();
        let proof = proof.iter().fold(String::new(), |text, hash| text + &hash.to_string() + "\n");
        let note = note.bare().map_err(|error| unread(error.into()))?;
        let body = format!("old {old}\n{proof}\n{note}");
        let failed = |error: &dyn std::fmt::Display| Failure::Unreachable(error.to_string());
        let url = self.url.join("/add-checkpoint").map_err(|error| failed(&error))?;
        let request = Request::post(url).body(Bytes::from(body)).map_err(|error| failed(&error))?;
        let limits = Limits { time: PATIENCE, bytes: ANSWER };
        self.client.ask(request, limits).await.map_err(|error| failed(&error))
    }

    /// Takes the witness's own line from its answer. Lines by other keys are passed over, as C2SP asks for.
    fn signed(&self, note: SignedCheckpoint, answer: &Response<Bytes>) -> Result<Signed, Failure> {
        let text = String::from_utf8_lossy(answer.body());
        let line = text
            .lines()
            .filter_map(Cosignature::parse)
            .find(|line| line.is_by(&self.key))
            .ok_or_else(|| Failure::Refused(format!("its answer has no signature by {}", self.key)))?;
        let signed: Result<SignedCheckpoint, _> = note.bare().and_then(|bare| (bare + line.text()).parse());
        let is_right = signed.is_ok_and(|signed| signed.verify(std::slice::from_ref(&self.key)).is_ok());
        if is_right && line.seconds() > 0 {
            Ok(Signed { note, line })
        } else {
            Err(Failure::Refused(format!("its signature is not right by {}", self.key)))
        }
    }
}

async fn newest(log: &EventLog, log_id: LogId) -> Result<Option<SignedCheckpoint>, Failure> {
    Ok(read::checkpoint(log, log_id).await.map_err(unread)?.map(|stored| stored.note))
}

/// What went wrong here, not there.
fn unread(error: Error) -> Failure {
    Failure::Ours(error)
}

/// The size that a conflict names.
fn told_size(answer: &Response<Bytes>) -> Result<u64, Failure> {
    let text = String::from_utf8_lossy(answer.body());
    let size = text.strip_suffix('\n').unwrap_or(&text).parse();
    size.map_err(|_| Failure::Refused(said(answer)))
}

fn said(answer: &Response<Bytes>) -> String {
    let text = String::from_utf8_lossy(answer.body());
    let line: String = text.lines().next().unwrap_or_default().chars().take(REPEATED).collect();
    let line: String = line.chars().filter(|char| !char.is_control()).collect();
    if line.is_empty() {
        format!("it answered {}", answer.status())
    } else {
        format!("it answered {}: {line}", answer.status())
    }
}
