//! A C2SP tlog-witness: a small HTTP server, with or without TLS, that keeps the latest checkpoint of each log and signs what
//! goes on from it. It can also misbehave.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetlog_proof::hash::Hash;
use fleetlog_proof::note::{Kind, SignedCheckpoint, SigningKey, VerifierKey};
use fleetlog_proof::tree;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::http::{Answer, Request, converse};

const NAME: &str = "witness.example/w1";

/// How a witness behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the specification says.
    Right,
    /// It takes requests, and never answers.
    Silent,
    /// It answers each request with this status.
    Status(u16),
    /// It signs with another key, in its own name.
    OtherKey,
    /// It signs something else.
    OtherText,
    /// It signs at no time.
    NoTime,
    /// It names another size each time.
    Fickle,
}

/// A witness, and what it knows.
#[derive(Clone)]
pub(crate) struct Cosigner {
    url: String,
    key: Arc<SigningKey>,
    pub(crate) state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    pub(crate) manner: Manner,
    /// The keys of the logs that it knows.
    pub(crate) known: Vec<VerifierKey>,
    /// The latest checkpoint of each log that it signed.
    pub(crate) latest: HashMap<String, (u64, Hash)>,
    /// The old and the new size of each request, and the status of its answer.
    pub(crate) asked: Vec<(u64, u64, u16)>,
}

impl Cosigner {
    /// A witness that knows the logs of these keys.
    pub(crate) async fn start(known: Vec<VerifierKey>) -> Self {
        Self::listen(known, None).await
    }

    /// A witness over TLS, whose certificate is in a folder.
    pub(crate) async fn start_tls(known: Vec<VerifierKey>, folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.join("certificate"), made.cert.pem()).expect("written");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate");
        Self::listen(known, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(known: Vec<VerifierKey>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let port = listener.local_addr().expect("bound").port();
        let (scheme, host) = if tls.is_some() { ("https", "localhost") } else { ("http", "127.0.0.1") };
        let state = State { manner: Manner::Right, known, latest: HashMap::new(), asked: vec![] };
        let witness = Self {
            url: format!("{scheme}://{host}:{port}/prefix"),
            key: Arc::new(SigningKey::generate(NAME, Kind::Cosignature).expect("a key")),
            state: Arc::new(Mutex::new(state)),
        };
        let serving = witness.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (witness, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    let answer = |request| witness.clone().answer(request);
                    match tls {
                        None => converse(stream, answer).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => converse(stream, answer).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        witness
    }

    /// What an operator gives to `--witness`.
    pub(crate) fn address(&self) -> String {
        format!("{}#{}", self.url, self.key())
    }

    /// What it is called in metrics and tables.
    pub(crate) fn name(&self) -> String {
        format!("{}#{NAME}", self.url)
    }

    pub(crate) fn key(&self) -> VerifierKey {
        self.key.verifier()
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.state.lock().manner = manner;
    }

    /// The size that it signed last of a log.
    pub(crate) fn size_of(&self, origin: &str) -> u64 {
        self.state.lock().latest.get(origin).map_or(0, |(size, _)| *size)
    }

    pub(crate) fn asked(&self) -> Vec<(u64, u64, u16)> {
        self.state.lock().asked.clone()
    }

    async fn answer(self, request: Request) -> Option<Answer> {
        if self.state.lock().manner == Manner::Silent {
            self.state.lock().asked.push((0, 0, 0));
            std::future::pending::<()>().await;
        }
        if (&*request.method, &*request.target) != ("POST", "/prefix/add-checkpoint") {
            return Some(Answer { status: 405, ..Answer::default() });
        }
        let (status, body) = self.add_checkpoint(&String::from_utf8(request.body).expect("UTF-8"));
        Some(Answer { status, body: body.into_bytes(), ..Answer::default() })
    }

    fn add_checkpoint(&self, body: &str) -> (u16, String) {
        let mut state = self.state.lock();
        let (request, note) = body.split_once("\n\n").expect("an empty line");
        let mut lines = request.lines();
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).expect("the old size");
        let old: u64 = old.parse().expect("a size");
        let proof: Vec<Hash> = lines.map(|hash| Hash::parse(hash).expect("a hash")).collect();
        let note: SignedCheckpoint = note.parse().expect("a checkpoint");
        let size = note.checkpoint.size;
        let (status, answer) = self.judge(&mut state, old, &proof, &note);
        state.asked.push((old, size, status));
        (status, answer)
    }

    /// The rules of C2SP tlog-witness, in their order.
    fn judge(&self, state: &mut State, old: u64, proof: &[Hash], note: &SignedCheckpoint) -> (u16, String) {
        let (new, refused) = (&note.checkpoint, |status| (status, String::new()));
        match state.manner {
            Manner::Status(status) => return (status, "this witness\nis tired".to_owned()),
            Manner::Fickle => return (409, format!("{}\n", old.saturating_sub(1))),
            _ => {}
        }
        let of_log =
            state.known.iter().map(|key| key.of_log(&new.origin)).find(|key| key.name() == new.origin);
        let Some(key) = of_log else { return refused(404) };
        if note.verify(&[key]).is_err() {
            return refused(403);
        }
        if old > new.size {
            return refused(400);
        }
        let (latest, root) = state.latest.get(&new.origin).copied().unwrap_or((0, Hash::empty()));
        if old != latest {
            return (409, format!("{latest}\n"));
        }
        if !tree::is_consistent(old, new.size, (root, new.root), proof) {
            return refused(422);
        }
        state.latest.insert(new.origin.clone(), (new.size, new.root));
        let now = chrono::Utc::now().timestamp() as u64;
        let other = SigningKey::generate(NAME, Kind::Cosignature).expect("a key");
        let foreign = format!("\u{2014} else.example {}\n", STANDARD.encode([7; 76]));
        let line = match state.manner {
            Manner::OtherKey => other.cosign(new, now),
            Manner::OtherText => {
                let mut changed = new.clone();
                changed.size += 1;
                self.key.cosign(&changed, now)
            }
            Manner::NoTime => self.key.cosign(new, 0),
            _ => self.key.cosign(new, now),
        };
        (200, foreign + &line)
    }
}
