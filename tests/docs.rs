//! The documents for newcomers name only files and folders that exist.

use std::fs;
use std::path::Path;

const DOCUMENTS: [&str; 4] = ["README.md", "CONTRIBUTING.md", "docs/HOWTO.md", "docs/ARCHITECTURE.md"];
/// The folders that a path in backticks may begin with. Other texts with a slash are topics, URLs and parts of paths.
const FOLDERS: [&str; 11] = [
    "aggregates",
    "crates",
    "deploy",
    "docs",
    "event-log",
    "examples",
    "fuzz",
    "migrations",
    "projections",
    "src",
    "tests",
];

#[test]
fn every_path_and_link_in_the_documents_for_newcomers_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("a document");
        let folder = root.join(document).parent().expect("a folder").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains(':')) {
            assert!(folder.join(link).exists(), "{document} links to {link}, which does not exist");
            checked += 1;
        }
        for path in
            text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|code| is_path(code))
        {
            // A module may be named without the end of its file's name.
            let exists = root.join(path).exists() || root.join(format!("{path}.rs")).exists();
            assert!(exists, "{document} names {path}, which does not exist");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

/// Whether a text in backticks is the path of something in this repository; `name` and `NNNN` stand for a reader's own.
fn is_path(code: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let begins = code.split_once('/').is_some_and(|(first, _)| FOLDERS.contains(&first));
    begins && code.chars().all(plain) && !code.contains("/name.") && !code.contains("NNNN")
}
