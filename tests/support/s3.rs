//! An object store that speaks as much S3 as there is to speak: it checks the signature of each request (AWS Signature
//! Version 4), and has objects, their parts and ranges of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::http::{Answer, Request, converse};

pub(crate) const BUCKET: &str = "fleetlog-test";
const KEY_ID: &str = "AKIATEST";
const SECRET: &str = "a/secret+key";

#[derive(Clone)]
pub(crate) struct ObjectStore {
    port: u16,
    pub(crate) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// What is sent in parts and not complete.
    pub(crate) uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    /// The method and the target of each request.
    pub(crate) asked: Vec<String>,
    /// Nothing is answered but this status.
    pub(crate) only: Option<u16>,
    /// A byte of what is stored next is changed.
    pub(crate) corrupts: bool,
}

impl ObjectStore {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let store = Self { port: listener.local_addr().expect("bound").port(), state: Arc::default() };
        let serving = store.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let store = serving.clone();
                let answer = move |request| std::future::ready(Some(store.answer(&request)));
                tokio::spawn(converse(stream, answer));
            }
        });
        store
    }

    /// The variables with which it is reached.
    pub(crate) fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "eu-test-1".to_owned()),
        ]
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.lock().objects.keys().cloned().collect()
    }

    fn answer(&self, request: &Request) -> Answer {
        let mut state = self.state.lock();
        state.asked.push(format!("{} {}", request.method, request.target));
        let status = |status| Answer { status, ..Answer::default() };
        if let Some(only) = state.only {
            return status(only);
        }
        if !is_signed(request) {
            return status(403);
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let Some(name) = path.strip_prefix(&format!("/{BUCKET}/")).map(str::to_owned) else {
            return status(404);
        };
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(known, _)| *known == name))
                .map(|(_, value)| value)
        };
        let xml = |body: String| Answer { status: 200, body: body.into_bytes(), ..Answer::default() };
        match (request.method.as_str(), parameter("uploadId"), parameter("partNumber")) {
            ("POST", None, _) if query.starts_with("uploads") => {
                let id = format!("upload{}", state.asked.len());
                state.uploads.insert(id.clone(), BTreeMap::new());
                xml(format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            ("PUT", Some(id), Some(part)) => {
                let parts = state.uploads.get_mut(id).expect("an upload");
                parts.insert(part.parse().expect("a number"), request.body.clone());
                Answer {
                    status: 200,
                    headers: vec![("etag", format!("\"part{part}\""))],
                    ..Answer::default()
                }
            }
            ("POST", Some(id), _) => {
                let parts = state.uploads.remove(id).expect("an upload");
                let last = parts.len();
                let small = parts.iter().any(|(number, part)| *number < last && part.len() < 5 << 20);
                if small || parts.keys().copied().ne(1..=last) {
                    return status(400);
                }
                let mut bytes = parts.into_values().flatten().collect::<Vec<_>>();
                if state.corrupts {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }
                state.objects.insert(name, bytes);
                xml("<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>"
                    .to_owned())
            }
            ("DELETE", Some(id), _) => {
                state.uploads.remove(id);
                status(204)
            }
            ("GET" | "HEAD", None, _) => match state.objects.get(&name) {
                None => status(404),
                Some(bytes) => ranged(bytes, request.header("range")),
            },
            _ => status(400),
        }
    }
}

fn ranged(bytes: &[u8], range: Option<&str>) -> Answer {
    let mut headers =
        vec![("etag", "\"x\"".to_owned()), ("last-modified", "Mon, 02 Nov 2026 00:00:00 GMT".to_owned())];
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = range else {
        headers.push(("content-length", bytes.len().to_string()));
        return Answer { status: 200, headers, body: bytes.to_vec() };
    };
    let (from, to): (usize, usize) = (from.parse().expect("a number"), to.parse().expect("a number"));
    if from >= bytes.len() {
        return Answer { status: 416, ..Answer::default() };
    }
    let to = to.min(bytes.len() - 1);
    headers.push(("content-range", format!("bytes {from}-{to}/{}", bytes.len())));
    Answer { status: 206, headers, body: bytes[from..=to].to_vec() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Whether a request is signed with the secret, as AWS documents Signature Version 4.
fn is_signed(request: &Request) -> bool {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let authorization = header("authorization");
    let part = |name: &str| {
        let at = authorization.split([' ', ',']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        at.unwrap_or_default().to_owned()
    };
    let (credential, names, signature) = (part("Credential"), part("SignedHeaders"), part("Signature"));
    let (body, time) = (header("x-amz-content-sha256"), header("x-amz-date"));
    let Some((id, scope)) = credential.split_once('/') else { return false };
    let scopes: Vec<&str> = scope.split('/').collect();
    let [day, region, "s3", "aws4_request"] = scopes[..] else { return false };
    if id != KEY_ID || !time.starts_with(day) || body != hex(digest(&SHA256, &request.body).as_ref()) {
        return false;
    }
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    query.sort();
    let headers: Vec<String> = names.split(';').map(|name| format!("{name}:{}", header(name))).collect();
    let canonical =
        format!("{}\n{path}\n{}\n{}\n\n{names}\n{body}", request.method, query.join("&"), headers.join("\n"));
    let text =
        format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
    let key = mac(&mac(&mac(&mac(format!("AWS4{SECRET}").as_bytes(), day), region), "s3"), "aws4_request");
    hex(&mac(&key, &text)) == signature
}
