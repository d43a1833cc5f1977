//! Lists the files in `migrations/`: they are part of the binary.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new("../migrations");
    // Cargo watches the folder for files that are added or removed; `include_str!` watches each file.
    println!("cargo:rerun-if-changed=../migrations");

    let mut migrations = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.ends_with("README.md") {
            migrations.push(Migration::at(path)?);
        }
    }
    migrations.sort_unstable_by_key(|migration| migration.version);

    let mut list = String::from("&[\n");
    for Migration { version, description, path } in &migrations {
        // From the manifest, so that a checkout that was moved still builds.
        let path = format!("/{}", path.display());
        let path = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?})");
        writeln!(list, "    ({version}, {description:?}, include_str!({path})),")?;
    }
    list.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("migrations.rs"), list)?;
    Ok(())
}

struct Migration {
    version: i64,
    description: String,
    path: PathBuf,
}

impl Migration {
    /// Reads a file's name as sqlx does: `0001_tenants.sql` is version 1, "tenants".
    fn at(path: PathBuf) -> Result<Self, String> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parts = name.strip_suffix(".sql").and_then(|stem| stem.split_once('_'));
        match parts.map(|(version, words)| (version.parse(), words)) {
            // A pair of files, `.up.sql` and `.down.sql`, would be another type of migration.
            Some((Ok(version), words)) if !words.contains('.') => {
                Ok(Self { version, description: words.replace('_', " "), path })
            }
            _ => Err(format!("{}: a migration is called NUMBER_WORDS.sql", path.display())),
        }
    }
}
