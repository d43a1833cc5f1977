//! The examples in docs/SOURCES.md say what the code does.

use fleetlog_sources::presets::PRESETS;
use fleetlog_sources::{Aliases, Source, SourceSpec};

use crate::made_of;

/// The blocks of a document: what they are, and their text.
fn blocks(document: &str) -> impl Iterator<Item = (&str, &str)> {
    document.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'))
}

#[test]
fn each_example_becomes_what_the_document_says() {
    let document = include_str!("../../../../docs/SOURCES.md");
    let mut source: Option<Source> = None;
    let mut checked = 0;
    for (kind, block) in blocks(document) {
        if kind == "json" {
            let spec = SourceSpec::from_json(block).unwrap_or_else(|invalid| panic!("{block}: {invalid}"));
            source = Some(Source::try_from(spec).unwrap_or_else(|invalid| panic!("{block}: {invalid}")));
            continue;
        }
        let mut lines = block.lines().peekable();
        while let Some(message) = lines.next().filter(|_| block.contains('→')) {
            let (topic, payload) = split(message);
            let mut expected = Vec::new();
            while let Some(line) = lines.next_if(|line| line.starts_with("→ ")) {
                expected.push(line.trim_start_matches("→ "));
            }
            let source = source.as_ref().expect("a definition comes first");
            assert_eq!(
                made_of(source, topic, payload.as_bytes(), &mut Aliases::default()),
                expected,
                "{message}"
            );
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}

/// The topic and the payload of a line. A topic may have blanks, a payload begins with a brace or is a word.
fn split(message: &str) -> (&str, &str) {
    let at = message.find(" {").or_else(|| message.find(' ')).expect("a topic and a payload");
    (&message[..at], &message[at + 1..])
}

#[test]
fn the_document_names_every_preset() {
    let document = include_str!("../../../../docs/SOURCES.md");
    for preset in PRESETS {
        assert!(document.contains(&format!("`{}`", preset.name)), "{}", preset.name);
    }
}
