//! The environment: loads `.env` into it, and refuses settings that fleetlog does not know.
//!
//! A misspelt option is always an error. Without this check a misspelt variable would be ignored silently, and the
//! server would run with a default that nobody chose.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Command;
use strsim::levenshtein;

/// The prefix of all variables of fleetlog.
const PREFIX: &str = "FLEETLOG_";

/// Why a setting is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No command has a setting of this name.
    #[error("{name} is not a setting of fleetlog{}", nearest.as_ref().map_or_else(String::new, |near| format!("; did you mean {near}?")))]
    Unknown {
        /// The variable.
        name: String,
        /// The most similar known setting.
        nearest: Option<String>,
    },
    /// The variable is set to an empty value.
    #[error("{0} is set but empty; give it a value or unset it")]
    Empty(String),
    /// `.env` exists but cannot be read.
    #[error("failed to read {0}: {1}")]
    File(String, String),
    /// A line of `.env` sets no variable. What the line says is not told: it may be a secret.
    #[error(
        "line {line} of {file} is not NAME=value; write a value that has spaces, quotes, # or $ in single quotes: NAME='a value'"
    )]
    Line {
        /// The file.
        file: String,
        /// The line's number, from 1 on.
        line: usize,
    },
}

/// Loads a `.env` file, if there is one. Variables that are set already win.
pub fn load(file: &Path) -> Result<(), Error> {
    let name = || file.display().to_string();
    match dotenvy::from_path(file) {
        Err(dotenvy::Error::LineParse(..)) => {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            Err(Error::Line { file: name(), line: bad_line(&text) })
        }
        Err(error) if !error.not_found() => Err(Error::File(name(), error.to_string())),
        _ => Ok(()),
    }
}

/// The number of the line at which the first setting begins that cannot be read: the one after the longest beginning that
/// can. Of the library's error only the text is known, which may be a secret.
fn bad_line(text: &str) -> usize {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let reads = |count: &usize| {
        let beginning = lines[..*count].concat();
        dotenvy::from_read_iter(beginning.as_bytes()).all(|setting| setting.is_ok())
    };
    (1..=lines.len()).rev().find(reads).unwrap_or(0) + 1
}

/// Checks the names of `variables` against the settings of `cli` and all its subcommands.
pub fn check(cli: &Command, variables: impl Iterator<Item = (String, String)>) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    collect(cli, &mut known);
    for (name, value) in variables {
        if known.contains(&name) {
            if value.is_empty() {
                return Err(Error::Empty(name));
            }
        } else if name.starts_with(PREFIX) {
            let nearest = known.iter().min_by_key(|other| levenshtein(&name, other)).cloned();
            return Err(Error::Unknown {
                nearest: nearest.filter(|other| levenshtein(&name, other) <= 4),
                name,
            });
        }
    }
    Ok(())
}

fn collect(command: &Command, known: &mut BTreeSet<String>) {
    known.extend(command.get_arguments().filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned)));
    command.get_subcommands().for_each(|subcommand| collect(subcommand, known));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn checked(name: &str, value: &str) -> Result<(), Error> {
        check(&crate::cli::Cli::command(), [(name.to_owned(), value.to_owned())].into_iter())
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_the_right_one() {
        let error = checked("FLEETLOG_HTPP_ADDR", "127.0.0.1:1").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "FLEETLOG_HTPP_ADDR is not a setting of fleetlog; did you mean FLEETLOG_HTTP_ADDR?"
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_by_its_number_and_not_told() {
        for (text, line) in [
            ("A=1\nB='two\nlines'\n# and a comment\nFLEETLOG_SECRET=my very secret thing\nC=3\n", 5),
            ("FLEETLOG_ADMIN_PASSWORD=three wild otters juggle", 1),
            ("\n\nverysecret\n", 3),
            ("A=1\nB='secret without an end\nC=1\n", 2),
        ] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), text).expect("written");
            let error = load(file.path()).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("line {line} of {} ", file.path().display())), "{error}");
            assert!(!["secret", "three", "wild"].iter().any(|word| error.contains(word)), "{error}");
        }
    }

    #[test]
    fn an_empty_setting_is_refused() {
        assert_eq!(
            checked("FLEETLOG_ADMIN_PASSWORD", ""),
            Err(Error::Empty("FLEETLOG_ADMIN_PASSWORD".into()))
        );
    }

    #[test]
    fn settings_and_other_peoples_variables_are_left_alone() {
        for (name, value) in
            [("FLEETLOG_HTTP_ADDR", "127.0.0.1:1"), ("DATABASE_URL", "x"), ("PATH", ""), ("HOME", "x")]
        {
            assert_eq!(checked(name, value), Ok(()), "{name}");
        }
    }
}
