//! Chooses the user that the server runs as, and gives that user the files that it must own.
//!
//! Postgres refuses to run as root. If root starts it, it runs as the owner of the data if that is another user; else
//! in a user namespace, where root's files need no new owner; else, if containers forbid that, as the user `postgres`.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown, lchown};
use std::path::Path;
use std::process::Command;

use super::Error;
use super::directory::CLUSTER;
use super::folder::Folder;
use crate::process::{RunAs, effective_user};

/// Chooses the user for a server with its data in a folder.
pub(super) fn choose(root: &Folder) -> Result<RunAs, Error> {
    if effective_user() != 0 {
        return Ok(RunAs::Caller);
    }
    let found = root.metadata()?;
    let (uid, gid) = root.owner_of(CLUSTER)?.unwrap_or((found.uid(), found.gid()));
    if found.uid() != 0 && found.uid() != uid {
        let reason =
            "its owner is not the owner of the directory that it is in; give both to one user with chown";
        return Err(Error::Unsafe { path: root.path().join(CLUSTER), reason });
    }
    if uid != 0 {
        return Ok(RunAs::User { uid, gid });
    }
    if can_drop_powers() {
        return Ok(RunAs::UnprivilegedRoot);
    }
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    find_postgres(&accounts).ok_or(Error::NoUser)
}

/// Gives an open file or directory to the server's user.
pub(super) fn give(run_as: RunAs, file: &File, path: &Path) -> Result<(), Error> {
    match run_as {
        RunAs::User { uid, gid } => {
            fchown(file, Some(uid), Some(gid)).map_err(Error::file("change the owner of", path))
        }
        RunAs::Caller | RunAs::UnprivilegedRoot => Ok(()),
    }
}

/// Gives what a path names to the server's user, in a directory that is root's alone. Follows no link.
pub(super) fn give_path(run_as: RunAs, path: &Path) -> Result<(), Error> {
    match run_as {
        RunAs::User { uid, gid } => {
            lchown(path, Some(uid), Some(gid)).map_err(Error::file("change the owner of", path))
        }
        RunAs::Caller | RunAs::UnprivilegedRoot => Ok(()),
    }
}

/// Gives a directory with all its contents to the server's user, unless that user owns it already. The directory itself
/// comes last, so that an interrupted run is repeated.
pub(super) fn give_all(run_as: RunAs, dir: &Path) -> Result<(), Error> {
    let found = fs::symlink_metadata(dir).map_err(Error::file("open", dir))?;
    if owns(run_as, &found) {
        return Ok(());
    }
    if found.is_dir() {
        for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
            give_all(run_as, &entry.map_err(Error::file("read", dir))?.path())?;
        }
    }
    give_path(run_as, dir)
}

/// Whether the server's user owns a file.
pub(super) fn owns(run_as: RunAs, file: &fs::Metadata) -> bool {
    let user = match run_as {
        RunAs::User { uid, .. } => uid,
        RunAs::Caller | RunAs::UnprivilegedRoot => effective_user(),
    };
    file.uid() == user
}

fn can_drop_powers() -> bool {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ":"]);
    RunAs::UnprivilegedRoot.prepare(&mut command, libc::SIGKILL);
    command.status().is_ok_and(|status| status.success())
}

fn find_postgres(accounts: &str) -> Option<RunAs> {
    let fields: Vec<&str> = accounts.lines().find(|line| line.starts_with("postgres:"))?.split(':').collect();
    Some(RunAs::User { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_postgres_is_found_among_the_accounts() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_postgres(accounts), Some(RunAs::User { uid: 101, gid: 104 }));
        assert_eq!(find_postgres("root:x:0:0::/root:/bin/sh\n"), None);
    }

    #[test]
    fn a_whole_directory_is_given_away() {
        if effective_user() != 0 {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("base/1/2");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        give_all(RunAs::User { uid: 65_534, gid: 65_534 }, dir.path()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().uid(), 65_534);
        assert_eq!(fs::metadata(dir.path()).unwrap().uid(), 65_534);
    }
}
