//! The migrations that make the schema: the files in `migrations/`, as `build.rs` lists them.
//!
//! In the place of `sqlx::migrate!`, whose crate would build the whole driver once more for the compiler. Version,
//! description and checksum are what sqlx would make of the files, so that a database that was migrated by either takes
//! the other.

use std::borrow::Cow;
use std::future::{self, Future};
use std::pin::Pin;

use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};

/// Version, description and text of each, in the order of their versions.
const FILES: &[(i64, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// All of them, ready to run.
pub(crate) async fn migrator() -> Result<Migrator, MigrateError> {
    Migrator::new(Embedded).await
}

#[derive(Debug)]
struct Embedded;

impl MigrationSource<'static> for Embedded {
    fn resolve(self) -> Pin<Box<dyn Future<Output = Result<Vec<Migration>, BoxDynError>> + Send + 'static>> {
        let migrations = FILES.iter().map(|&(version, description, sql)| {
            // sqlx's own mark for what must not run in a transaction.
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
}
