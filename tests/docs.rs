//! The documents for newcomers name only files and folders that exist, and show what the program answers.

mod samples;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::Database;

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

#[tokio::test]
async fn every_table_is_named_where_the_operator_reads_how_far_it_grows() {
    let document = include_str!("../docs/OPERATIONS.md");
    let (_, section) = document.split_once("\n## What grows").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let named: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('|').next())
        .flat_map(|cell| cell.split('`').step_by(2))
        .map(|name| name.trim_end_matches("_v*"))
        .collect();
    let mut owner = Database::fresh().await.owner().await;
    // The log of the migrations is sqlx's. A version of a read model and a week's partition go by the name of the whole.
    let tables = "SELECT DISTINCT regexp_replace(relname, '_v[0-9]+$', '') FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace
          AND relname <> '_sqlx_migrations'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut owner).await.expect("tables");
    let tables: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
    assert!(tables.is_subset(&named), "not named: {:?}", tables.difference(&named));
    let gone: Vec<_> = named.difference(&tables).filter(|name| !name.ends_with('/')).collect();
    assert!(gone.is_empty(), "named, and no tables: {gone:?}");
}
