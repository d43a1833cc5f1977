//! Asks a service for its logs' checkpoints and proofs, over its REST API.

use std::time::Duration;

use bytes::Bytes;
use fleetlog_event_log::LogId;
use fleetlog_http_client::{Client, Limits, Url};
use http::{Method, Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::hash::Hash;
use crate::note::{COSIGNATURE, SIGNATURES, SignedCheckpoint};

/// Where the API lies below the service's URL.
const API: &str = "/api/v1/audit";
/// How long an answer may take. The service gives up after as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of the list of logs: 300 for each of some 3,000 logs.
const LIST: usize = 1 << 20;
/// The most bytes of a checkpoint: its lines, and as many signatures as it may have.
const CHECKPOINT: usize = 1024 + SIGNATURES * COSIGNATURE;
/// The most bytes of a proof, which has at most 63 hashes, or of a refusal.
const PROOF: usize = 64 << 10;

/// Why something could not be asked or done, in words. It says nothing about the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// A service.
pub struct Service {
    client: Client,
    url: Url,
    api_key: Option<String>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    log_id: i32,
}

#[derive(Deserialize)]
struct Consistency {
    hashes: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
}

impl Service {
    /// A service at its URL.
    #[must_use]
    pub fn new(client: Client, url: Url, api_key: Option<String>) -> Self {
        Self { client, url, api_key }
    }

    /// The service's URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The logs that the key may see.
    pub async fn logs(&self) -> Result<Vec<LogId>, Failure> {
        let answer = self.send(Method::GET, "", None, LIST).await?;
        let list: List = read(&answer)?;
        Ok(list.items.iter().map(|log| LogId(log.log_id)).collect())
    }

    /// A log's newest checkpoint. `None` if the service says that there is none.
    pub async fn checkpoint(&self, log_id: LogId) -> Result<Option<SignedCheckpoint>, Failure> {
        let answer = self.send(Method::GET, &format!("/{log_id}/checkpoint"), None, CHECKPOINT).await?;
        let problem = problem(&answer);
        // Another 404 may be that of a wrong URL.
        if answer.status() == StatusCode::NOT_FOUND && problem.code == "no_checkpoint" {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(succeeded(&answer)?);
        text.parse().map(Some).map_err(|error| Failure(format!("the service shows no checkpoint: {error}")))
    }

    /// What the service gives as the proof that a log of one size is the beginning of the log of another.
    pub async fn consistency(&self, log_id: LogId, old: u64, size: u64) -> Result<Vec<Hash>, Failure> {
        let path = format!("/{log_id}/consistency?old={old}&size={size}");
        let proof: Consistency = read(&self.send(Method::GET, &path, None, PROOF).await?)?;
        let hashes: Option<Vec<Hash>> = proof.hashes.iter().map(|hash| Hash::parse(hash)).collect();
        hashes.ok_or_else(|| Failure("the service's proof has something else than hashes".to_owned()))
    }

    /// Adds a signature to a checkpoint.
    pub async fn add_cosignature(&self, log_id: LogId, size: u64, line: &str) -> Result<(), Failure> {
        let body = json!({"size": size, "line": line}).to_string();
        let path = format!("/{log_id}/cosignatures");
        succeeded(&self.send(Method::POST, &path, Some(body), PROOF).await?).map(drop)
    }

    /// Returns the whole answer, whatever its status.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        most: usize,
    ) -> Result<Response<Bytes>, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure(format!("{}: {error}", self.url));
        let url = self.url.join(&format!("{API}{path}")).map_err(|error| failed(&error))?;
        let mut request = Request::builder().method(method).uri(url);
        if let Some(key) = &self.api_key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Bytes::from(body.unwrap_or_default())).map_err(|error| failed(&error))?;
        let limits = Limits { time: PATIENCE, bytes: most };
        self.client.ask(request, limits).await.map_err(|error| failed(&error))
    }
}

/// Reads an answer, unless it is a refusal.
fn read<'a, T: Deserialize<'a>>(answer: &'a Response<Bytes>) -> Result<T, Failure> {
    serde_json::from_slice(succeeded(answer)?)
        .map_err(|error| Failure(format!("the service's answer has another form: {error}")))
}

fn problem(answer: &Response<Bytes>) -> Problem {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

/// The body of an answer, unless it is a refusal.
fn succeeded(answer: &Response<Bytes>) -> Result<&Bytes, Failure> {
    let status = answer.status();
    let Problem { code, detail } = problem(answer);
    match status {
        _ if status.is_success() => Ok(answer.body()),
        StatusCode::UNAUTHORIZED => Err(Failure(
            "the service does not know the caller; give an API key that is valid with --api-key".to_owned(),
        )),
        StatusCode::FORBIDDEN => Err(Failure(
            "the API key may not do this; it needs the actions events.read and, to cosign, audit.cosign"
                .to_owned(),
        )),
        _ if code.is_empty() => Err(Failure(format!("the service answered {status}"))),
        _ => Err(Failure(format!("the service answered {status}, {code}: {detail}"))),
    }
}
