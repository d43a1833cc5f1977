//! docs/LIMITS.md says what the code says.

use std::fs;
use std::path::Path;

/// The cells of the rows of all tables.
fn rows(document: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
}

/// The texts in backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_limits_is_what_the_code_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (document, metrics) = (read("docs/LIMITS.md"), read("docs/METRICS.md"));
    let mut checked = 0;
    for row in rows(&document).filter(|row| row[0] != "what") {
        let [what, constant, metric, _beyond] = row[..] else { panic!("not four cells: {row:?}") };
        match code(constant)[..] {
            // A constant, as it is written.
            [name, value, path] => {
                let source = read(path);
                let is_it = |line: &str| {
                    let declared =
                        line.split_once(" = ").filter(|(head, _)| head.contains(&format!("const {name}:")));
                    declared.is_some_and(|(_, said)| said == format!("{value};"))
                };
                assert!(source.lines().map(str::trim).any(is_it), "{what}: {path} has no {name} = {value}");
            }
            // What follows from others.
            [path] => drop(read(path)),
            _ => panic!("{what}: expected `NAME` = `value` in `path`, not {constant}"),
        }
        for metric in code(metric) {
            assert!(metrics.contains(&format!("| `{metric}` |")), "{what}: there is no metric {metric}");
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}
