//! A real Chromium without a window, driven over its `DevTools` protocol: opens pages, runs JavaScript in them, reads what they
//! complain of, takes pictures of them.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{LIMIT, eventually};

/// The names that Chromium goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// What it is started with. It asks nobody for anything, and keeps nothing.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-sandbox",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "about:blank",
];

/// A browser. It ends when it goes out of scope, and its pages with it.
pub(crate) struct Browser {
    wire: Arc<Mutex<Wire>>,
    _process: Child,
    _profile: tempfile::TempDir,
}

/// A page of the browser.
pub(crate) struct Page {
    wire: Arc<Mutex<Wire>>,
    session: String,
}

impl Browser {
    /// Starts Chromium. `None`, where there is none: the test is skipped, which a line says past the capture of tests' output.
    pub(crate) async fn start() -> Option<Self> {
        let Some(program) = find() else {
            let name = std::thread::current().name().unwrap_or("a test").to_owned();
            let hint = "needs Chromium: run scripts/install-tools test, or set CHROMIUM to the program";
            let _ = writeln!(std::io::stderr(), "\nskipped: {name} {hint}");
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory");
        let mut process = Command::new(program)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(ARGUMENTS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Chromium");
        let mut log = BufReader::new(process.stderr.take().expect("piped")).lines();
        let address = async {
            while let Some(line) = log.next_line().await.expect("text") {
                if let Some((_, address)) = line.split_once("DevTools listening on ") {
                    return address.trim().to_owned();
                }
            }
            panic!("Chromium ended");
        };
        let address = tokio::time::timeout(LIMIT, address).await.expect("Chromium listens");
        // A pipe that nobody reads would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let (socket, _) = connect_async(address).await.expect("a connection");
        let wire = Arc::new(Mutex::new(Wire { socket, last: 0, events: vec![] }));
        Some(Self { wire, _process: process, _profile: profile })
    }

    /// Opens a page, and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) -> Page {
        let call = async |method, params| self.wire.lock().await.call(None, method, params).await;
        let target = call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = call("Target.attachToTarget", attach).await;
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        let page = Page { wire: Arc::clone(&self.wire), session };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({})).await;
        }
        let gone = page.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(gone.get("errorText"), None, "{url}: {gone}");
        page.until("document.readyState === 'complete'").await;
        page
    }
}

impl Page {
    /// Runs JavaScript, waits for the promise if it is one, and returns its value.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let params = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", params).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{script}");
        answer["result"]["value"].clone()
    }

    /// Waits until JavaScript says so. If it never does, a picture of the page is written, and its path is in the message.
    pub(crate) async fn until(&self, script: &str) {
        let waited = tokio::time::timeout(LIMIT.mul_f32(0.9), async {
            eventually(script, async || if self.run(script).await == true { Ok(()) } else { Err(()) }).await;
        });
        if waited.await.is_err() {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}.png", fastrand::u32(..)));
            std::fs::write(&path, self.picture().await).expect("written");
            panic!("never: {script}; {}; {:?}", path.display(), self.complaints().await);
        }
    }

    /// What the page has complained of: exceptions that nobody caught, and errors on its console. What the network refused is
    /// not among them.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        // What was said before comes before the answer.
        self.run("0").await;
        let wire = self.wire.lock().await;
        let own = wire.events.iter().filter(|event| event["sessionId"] == *self.session);
        own.filter_map(complaint).collect()
    }

    /// A picture of what the page shows, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        BASE64_STANDARD.decode(answer["data"].as_str().expect("a picture")).expect("base64")
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        self.wire.lock().await.call(Some(&self.session), method, params).await
    }
}

fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if params["type"] == "error" => Some(params["args"].to_string()),
        "Log.entryAdded" if params["entry"]["level"] == "error" && params["entry"]["source"] != "network" => {
            Some(params["entry"]["text"].to_string())
        }
        _ => None,
    }
}

/// The connection to the browser: one call at a time.
struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The number of the last call.
    last: u64,
    /// What came between answers.
    events: Vec<Value>,
}

impl Wire {
    async fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut call = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = session {
            call["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(call.to_string())).await.expect("sent");
        loop {
            let next = tokio::time::timeout(LIMIT, self.socket.next()).await;
            let message =
                next.unwrap_or_else(|_| panic!("{method}: no answer")).expect("open").expect("a message");
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == self.last {
                assert_eq!(message.get("error"), None, "{method}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }
}

/// The program: what `CHROMIUM` names, or one of its names on the path.
fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM") {
        return Some(named.into()).filter(|named: &PathBuf| named.is_file());
    }
    let path = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    candidates.find(|candidate| candidate.is_file())
}
