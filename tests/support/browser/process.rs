//! The one Chromium of a run of tests. It ends with the tests' process, however that ends.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// The names that Chromium goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
/// What it is started with. It asks nobody for anything, keeps nothing, and no page waits because another is in front.
const ARGUMENTS: [&str; 15] = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-sandbox",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en-US",
    "about:blank",
];
/// Ends Chromium when nobody holds the other end of the input, which the kernel sees to.
const KEEPER: &str = r#"profile=$1; shift; "$@" & read -r _; kill $!; wait; rm -rf "$profile""#;

/// A running Chromium.
struct Process {
    address: String,
    _held: ChildStdin,
}

/// Where it listens for `DevTools`. `None`, where there is none.
pub(super) fn address() -> Option<&'static str> {
    static RUNNING: OnceLock<Option<Process>> = OnceLock::new();
    RUNNING.get_or_init(|| find().map(|program| start(&program))).as_ref().map(|process| &*process.address)
}

fn start(program: &Path) -> Process {
    let profile = tempfile::tempdir().expect("a directory").keep();
    let mut child = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(&profile)
        .arg(program)
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(ARGUMENTS)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let held = child.stdin.take().expect("piped");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let address = log.find_map(|line| Some(line.split_once("DevTools listening on ")?.1.trim().to_owned()));
    // A pipe that nobody reads would stop it.
    std::thread::spawn(move || {
        log.for_each(drop);
        child.wait()
    });
    Process { address: address.expect("Chromium listens"), _held: held }
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
