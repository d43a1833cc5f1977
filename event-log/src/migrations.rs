//! The migrations that make the schema: the files in `migrations/`, as `build.rs` lists them.
//!
//! This replaces `sqlx::migrate!`, whose crate would compile the whole driver once more, for the build machine.
//! Version, description and checksum are what sqlx makes of the files, so a database that was migrated by one accepts
//! the other.

use std::borrow::Cow;
use std::future::{self, Future};
use std::pin::Pin;

use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};

/// Version, description and text of each migration, in the order of their versions.
const FILES: &[(i64, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// All migrations, ready to run.
pub(crate) async fn migrator() -> Result<Migrator, MigrateError> {
    Migrator::new(Embedded).await
}

#[derive(Debug)]
struct Embedded;

impl MigrationSource<'static> for Embedded {
    fn resolve(self) -> Pin<Box<dyn Future<Output = Result<Vec<Migration>, BoxDynError>> + Send + 'static>> {
        let migrations = FILES.iter().map(|&(version, description, sql)| {
            // The mark that sqlx uses for a migration that must not run in a transaction.
            let no_tx = sql.starts_with("-- no-transaction");
            let (description, sql) = (Cow::Borrowed(description), Cow::Borrowed(sql));
            Migration::new(version, description, MigrationType::Simple, sql, no_tx)
        });
        Box::pin(future::ready(Ok(migrations.collect())))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn the_embedded_migrations_are_what_sqlx_reads_from_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let read = Migrator::new(folder).await.expect("read");
        let embedded = migrator().await.expect("embedded");
        assert!(read.iter().count() > 20);
        assert_eq!(format!("{embedded:#?}"), format!("{read:#?}"));
    }

    /// Numbers that no file ever had; `migrations/README.md` says why. They stay free.
    fn never_used() -> impl Iterator<Item = i64> {
        (12..=19).chain([32])
    }

    #[test]
    fn no_number_is_left_out_but_those_that_never_were() {
        let last = FILES.last().expect("a file").0;
        let expected: Vec<i64> =
            (1..=last).filter(|number| !never_used().any(|never| never == *number)).collect();
        let numbers: Vec<i64> = FILES.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, expected, "a number that was taken for a change that is not there");
    }

    /// The last file that is older than the rule.
    const BEFORE_THE_RULE: i64 = 30;
    /// What the comment above a statement that takes something away begins with; the version follows.
    const UNREAD: &str = "-- Nothing reads it since ";

    /// A version as numbers, so that 0.10.0 comes after 0.9.0.
    fn version(text: &str) -> Option<Vec<u32>> {
        text.trim_end_matches('.').split('.').map(|number| number.parse().ok()).collect()
    }

    /// The lines of a file that take away or rename something that a node of the previous version may read, without a
    /// comment that says since which version nothing reads it.
    fn taken_away_too_early(sql: &str, current: &str) -> Vec<String> {
        // These may be dropped at once: nothing reads them by name.
        const HARMLESS: [&str; 9] =
            ["CONSTRAINT", "DEFAULT", "EXPRESSION", "IDENTITY", "INDEX", "NOT", "POLICY", "RULE", "TRIGGER"];
        let (mut unread, mut early) = (false, vec![]);
        for line in sql.lines().map(str::trim) {
            if line.starts_with("--") {
                let since = line.strip_prefix(UNREAD).and_then(version);
                unread = since.is_some_and(|since| Some(since) < version(current));
                continue;
            }
            let words: Vec<String> = line.split_whitespace().map(str::to_uppercase).collect();
            let takes = words.iter().enumerate().any(|(at, word)| {
                ["DROP", "RENAME"].contains(&word.as_str())
                    && !words.get(at + 1).is_some_and(|what| HARMLESS.contains(&what.as_str()))
            });
            if takes && !unread {
                early.push(line.to_owned());
            }
            unread &= !line.ends_with(';');
        }
        early
    }

    #[test]
    fn migrations_take_away_only_what_nothing_reads_any_more() {
        for (number, name, sql) in FILES.iter().filter(|(number, ..)| *number > BEFORE_THE_RULE) {
            let early = taken_away_too_early(sql, env!("CARGO_PKG_VERSION"));
            assert!(early.is_empty(), "{number:04} {name}: see migrations/README.md: {early:#?}");
        }
    }

    #[test]
    fn a_drop_without_its_version_or_with_the_present_one_is_found() {
        let drop = "DROP VIEW windows;";
        for (sql, is_found) in [
            (drop.to_owned(), true),
            (format!("-- Nothing reads it since 0.9.0.\n{drop}"), false),
            (format!("-- Nothing reads it since 0.10.0.\n{drop}"), true),
            (format!("-- Nothing reads it since 0.9.0.\n{drop}\n{drop}"), true),
            ("ALTER TABLE windows\n    DROP COLUMN series_id;".to_owned(), true),
            ("alter table windows drop series_id;".to_owned(), true),
            ("ALTER TABLE windows RENAME TO old_windows;".to_owned(), true),
            ("ALTER TABLE windows DROP CONSTRAINT windows_key;".to_owned(), false),
            ("-- A comment may say DROP TABLE.\nSELECT 1;".to_owned(), false),
        ] {
            assert_eq!(!taken_away_too_early(&sql, "0.10.0").is_empty(), is_found, "{sql}");
        }
        let (.., sql) = FILES.iter().find(|(number, ..)| *number == BEFORE_THE_RULE).expect("0030");
        assert_eq!(
            taken_away_too_early(sql, "0.10.0").len(),
            3,
            "it renames a table, and drops a view and a table"
        );
    }
}
