//! Finds an installed Postgres that can run here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::directory::Directory;
use super::{Error, OLDEST_MAJOR, Options};
use crate::process::RunAs;

/// Where the packages of common systems install each version.
const PACKAGE_ROOTS: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
];

/// An installation.
#[derive(Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Finds the installation to use: the requested one, or else the first that fits from PATH, the packages (newest
    /// first) and the tools directory. An installation fits if it runs as the server's user in the data directory and
    /// has the version of the cluster, if there is one.
    pub(super) fn find(options: &Options, directory: &Directory) -> Result<Self, Error> {
        let (run_as, cluster) = (directory.run_as(), &directory.cluster());
        let wanted = directory.read("PG_VERSION");
        let wanted = wanted.as_deref().map(str::trim);
        if let Some(dir) = &options.binaries {
            return Self::probe(dir, run_as, &options.data_dir)?.fitting(wanted, cluster);
        }
        let mut refused = None;
        for dir in installed(options.tools.as_deref()) {
            match Self::probe(&dir, run_as, &options.data_dir)
                .and_then(|found| found.fitting(wanted, cluster))
            {
                Ok(found) => return Ok(found),
                // An installation that is too old or broken is the least helpful error to report.
                Err(Error::UnusableBinaries { .. }) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(Error::NoBinaries))
    }

    /// A command that runs one of the programs. It gets none of the caller's variables that could change what the
    /// server does (`PGPORT`, `PGTZ` and the like) or the language of its messages.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.dir.join(program));
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    fn probe(dir: &Path, run_as: RunAs, data_dir: &Path) -> Result<Self, Error> {
        let unusable = |reason| Error::UnusableBinaries { dir: dir.to_owned(), reason };
        if !is_installation(dir) {
            return Err(unusable("it does not hold initdb and postgres".into()));
        }
        let dir = std::path::absolute(dir).map_err(Error::file("resolve", dir))?;
        let mut command = Command::new("/bin/sh");
        // The shell tells two failures apart: a directory that cannot be entered, and a program that cannot be run.
        command.args(["-c", r#"cd "$1" || exit 3; exec "$0" --version"#]);
        command.arg(dir.join("postgres")).arg(data_dir).env("LC_ALL", "C").stdin(Stdio::null());
        run_as.prepare(&mut command, libc::SIGKILL);
        let output = command.output().map_err(|error| unusable(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(3) => return Err(Error::Unreachable { dir: data_dir.to_owned(), reason: said }),
            _ => return Err(unusable(said)),
        }
        let version = String::from_utf8_lossy(&output.stdout);
        match major(&version) {
            Some(major) if major >= OLDEST_MAJOR => Ok(Self { dir, major }),
            _ => {
                Err(unusable(format!("it is {}, and {OLDEST_MAJOR} is the oldest supported", version.trim())))
            }
        }
    }

    fn fitting(self, wanted: Option<&str>, cluster: &Path) -> Result<Self, Error> {
        match wanted {
            Some(data) if data != self.major.to_string() => Err(Error::WrongVersion {
                dir: cluster.to_owned(),
                data: data.to_owned(),
                installed: self.major,
            }),
            _ => Ok(self),
        }
    }
}

fn installed(tools: Option<&Path>) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    for (root, prefix) in PACKAGE_ROOTS {
        dirs.extend(versions(Path::new(root), prefix));
    }
    dirs.extend(tools.and_then(|tools| std::path::absolute(tools.join("bin")).ok()));
    // A relative entry of PATH means another place after each change of directory.
    dirs.retain(|dir| dir.is_absolute() && is_installation(dir));
    dirs
}

/// Directories of the form `<root>/<prefix><version>/bin`, newest first.
fn versions(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// Whether a directory has a server: a client package alone brings only `psql`.
fn is_installation(dir: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| dir.join(program).is_file())
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian …)` or `… 19beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major("something else"), None);
    }

    #[test]
    fn versions_are_ordered_as_numbers_newest_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pgsql-9", "pgsql-14", "pgsql-17", "pgsql-x", "other"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = versions(root.path(), "pgsql-");
        assert_eq!(found, ["pgsql-17", "pgsql-14", "pgsql-9"].map(|name| root.path().join(name).join("bin")));
    }
}
