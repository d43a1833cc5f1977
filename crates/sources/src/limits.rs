//! What a source and a message may have at most. `docs/LIMITS.md` lists these.

/// The most values that a payload may consist of: numbers, texts, lists and maps.
pub const MAX_NODES: usize = 65_536;
/// The most readings that one message may be taken apart into.
pub const MAX_READINGS: usize = 1_000;
/// The most metrics that a Sparkplug birth may give aliases.
pub const MAX_ALIASES: usize = 4_096;
/// The most topics of a source, and the most patterns of one of them.
pub const MAX_TOPICS: usize = 32;
/// The longest topic pattern, JSONPath or template, in bytes.
pub const MAX_TEXT: usize = 256;
/// The most levels of a topic pattern.
pub const MAX_LEVELS: usize = 32;
/// The most steps of a JSONPath that only names, counts and `[*]` lead along.
pub const MAX_STEPS: usize = 16;
/// The most JSONPaths of a topic that search: with `[*]`, a filter, `..` or a slice.
pub const MAX_SEARCHES: usize = 16;
/// The most values of a payload that a filter, `..` or a slice looks through. In a larger one they find nothing.
pub const MAX_SEARCHED: usize = 4_096;
/// The most alternatives of a place, and parts of an id.
pub const MAX_PLACES: usize = 8;
/// The most objects that metrics are taken from, paths that are left out, words, columns, and answers.
pub const MAX_ENTRIES: usize = 64;
/// The longest title of a source, in characters.
pub const MAX_TITLE: usize = 200;
/// The largest payload of a command, in bytes.
pub const MAX_COMMAND: usize = 64 << 10;
