//! A folder that is held open. What is in it is opened by its name from there, never through a link, so that another
//! user can lead nobody to a file elsewhere, not even root.
//!
//! Root follows a link on the way to the folder only where root made it.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, openat, renameat, statat};

use super::Error;
use super::account;
use crate::process::{RunAs, effective_user};

/// The most links on the way to a folder, as the Linux kernel counts them.
const MAX_LINKS: usize = 40;
/// The most bytes of a small file that are read: a version, or a server's lock file.
const SMALL: u64 = 4096;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const PLAIN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A folder that is held open.
#[derive(Debug)]
pub(super) struct Folder {
    handle: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder, and creates it if it is missing. Refuses one that other users may write to.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let folder = if effective_user() == 0 { walk(&resolve(path)?)? } else { open_as_caller(path)? };
        let found = folder.metadata()?;
        let others = if effective_user() == 0 { 0o022 } else { 0o002 };
        if found.mode() & others != 0 && !only_root_is_in_its_group(&found) {
            let reason = "other users may write to it; close it to them with chmod go-w";
            return Err(Error::Unsafe { path: folder.path, reason });
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn metadata(&self) -> Result<Metadata, Error> {
        self.handle.metadata().map_err(Error::file("open", &self.path))
    }

    /// The owner's and the group's id of a folder in it. `None` if there is none.
    pub(super) fn owner_of(&self, name: &str) -> Result<Option<(u32, u32)>, Error> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                Ok(Some((found.st_uid, found.st_gid)))
            }
            Ok(_) => {
                Err(Error::Unsafe { path: self.path.join(name), reason: "it is no directory; remove it" })
            }
            Err(error) if error == rustix::io::Errno::NOENT => Ok(None),
            Err(error) => Err(Error::file("open", &self.path.join(name))(error.into())),
        }
    }

    /// Opens a file of the server's user to read and to append to. Creates it if it is missing, closed to other users.
    pub(super) fn file(&self, name: &str, run_as: RunAs) -> Result<File, Error> {
        let path = self.path.join(name);
        let flags = PLAIN | OFlags::RDWR | OFlags::APPEND;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match openat(&self.handle, name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(new) => {
                let new = File::from(new);
                account::give(run_as, &new, &path)?;
                new
            }
            Err(error) if error == rustix::io::Errno::EXIST => {
                let found =
                    openat(&self.handle, name, flags, Mode::empty()).map_err(|error| match error {
                        rustix::io::Errno::LOOP => Error::Unsafe { path: path.clone(), reason: LINK },
                        error => Error::file("open", &path)(error.into()),
                    })?;
                File::from(found)
            }
            Err(error) => return Err(Error::file("create", &path)(error.into())),
        };
        let found = file.metadata().map_err(Error::file("open", &path))?;
        if !found.is_file() || found.nlink() != 1 {
            return Err(Error::Unsafe { path, reason: LINK });
        }
        let own_folder = self.metadata()?.uid() == effective_user();
        if own_folder && found.uid() == effective_user() {
            account::give(run_as, &file, &path)?;
        } else if !account::owns(run_as, &found) {
            let reason = "it is another user's; remove it, or give it to the data's owner";
            return Err(Error::Unsafe { path, reason });
        }
        if found.mode() & 0o077 != 0 {
            file.set_permissions(PermissionsExt::from_mode(0o600))
                .map_err(Error::file("close to others", &path))?;
        }
        Ok(file)
    }

    /// Creates a folder in it for the server's user, closed to other users. `AlreadyExists` is an error.
    pub(super) fn create(&self, name: &str, run_as: RunAs) -> Result<Self, Error> {
        let path = self.path.join(name);
        mkdirat(&self.handle, name, Mode::RWXU)
            .map_err(|error| Error::file("create", &path)(error.into()))?;
        let folder = self.within(name)?;
        folder.check_new()?;
        account::give(run_as, &folder.handle, &path)?;
        Ok(folder)
    }

    /// Checks that a folder is what this process has just created, before it gets another owner: whoever owns the folder
    /// that it is in may have put another in its place, and would be given what that one holds.
    fn check_new(&self) -> Result<(), Error> {
        let mut entries = fs::read_dir(self.handle_path()).map_err(Error::file("read", &self.path))?;
        if self.metadata()?.uid() == effective_user() && entries.next().is_none() {
            return Ok(());
        }
        let reason = "another directory was put in the place of the new one; give the directory that it is in to one user \
                      with chown, or choose another data directory";
        Err(Error::Unsafe { path: self.path.clone(), reason })
    }

    /// Opens a folder in it.
    pub(super) fn within(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        let handle = openat(&self.handle, name, DIRECTORY, Mode::empty());
        match handle {
            Ok(handle) => Ok(Self { handle: handle.into(), path }),
            Err(error) => Err(Error::file("open", &path)(error.into())),
        }
    }

    /// Reads a small text file in it. `None` if there is none.
    pub(super) fn read(&self, name: &str) -> Option<String> {
        let file = File::from(openat(&self.handle, name, PLAIN | OFlags::RDONLY, Mode::empty()).ok()?);
        let mut text = String::new();
        file.take(SMALL).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Renames something in it, in one step.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        renameat(&self.handle, from, &self.handle, to)
            .map_err(|error| Error::file("rename to", &self.path.join(to))(error.into()))
    }

    /// Writes what was created and renamed in it to the disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.handle.sync_all().map_err(Error::file("sync", &self.path))
    }

    /// Removes the folders in it whose names begin with `prefix`, with all that they hold. Follows no link.
    pub(super) fn remove_all(&self, prefix: &str) -> io::Result<()> {
        let mut removed = Ok(());
        for entry in fs::read_dir(self.handle_path())? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
                && entry.file_type()?.is_dir()
            {
                removed = removed.and(fs::remove_dir_all(entry.path()));
            }
        }
        removed
    }

    /// A path that leads here, whatever another user puts in the folder's place.
    fn handle_path(&self) -> PathBuf {
        #[cfg(target_os = "linux")]
        return PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.handle)));
        #[cfg(not(target_os = "linux"))]
        return self.path.clone();
    }
}

const LINK: &str = "it is a link, and could lead to a file elsewhere; remove it";

/// A folder for a process without root's powers, which another user's link cannot make use of.
fn open_as_caller(path: &Path) -> Result<Folder, Error> {
    fs::create_dir_all(path).map_err(Error::file("create", path))?;
    let path = fs::canonicalize(path).map_err(Error::file("open", path))?;
    let handle = openat(CWD, &path, DIRECTORY, Mode::empty());
    match handle {
        Ok(handle) => Ok(Folder { handle: handle.into(), path }),
        Err(error) => Err(Error::file("open", &path)(error.into())),
    }
}

/// The path without links, each of which root must have made. What is missing has no links.
fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let mut path = std::path::absolute(path).map_err(Error::file("resolve", path))?;
    for _ in 0..MAX_LINKS {
        let Some(link) = first_link(&path) else { return Ok(path) };
        let found = fs::symlink_metadata(&link).map_err(Error::file("open", &link))?;
        if found.uid() != 0 {
            return Err(Error::Unsafe { path: link, reason: "root does not follow another user's link" });
        }
        let target = fs::read_link(&link).map_err(Error::file("open", &link))?;
        let rest = path.strip_prefix(&link).unwrap_or(Path::new("")).to_owned();
        path = link.parent().unwrap_or(Path::new("/")).join(target).join(rest);
    }
    Err(Error::file("resolve", &path)(rustix::io::Errno::LOOP.into()))
}

fn first_link(path: &Path) -> Option<PathBuf> {
    let mut so_far = PathBuf::new();
    path.components().find_map(|component| {
        so_far.push(component);
        fs::symlink_metadata(&so_far).is_ok_and(|found| found.is_symlink()).then(|| so_far.clone())
    })
}

/// Opens a path without links from the root on, folder by folder. Creates what is missing, for the owner of the folder
/// that it is in. Warns of a folder on the way whose owner could put another in the place of what is in it.
fn walk(path: &Path) -> Result<Folder, Error> {
    let mut above = vec![Folder {
        handle: File::open("/").map_err(Error::file("open", Path::new("/")))?,
        path: "/".into(),
    }];
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir if above.len() > 1 => {
                above.pop();
                continue;
            }
            _ => continue,
        };
        let Some(parent) = above.last() else { continue };
        let next = enter(parent, &parent.path.join(name))?;
        above.push(next);
    }
    let Some(folder) = above.pop() else { return Err(Error::file("open", path)(ErrorKind::NotFound.into())) };
    let owner = folder.metadata()?.uid();
    for parent in above {
        let found = parent.metadata()?;
        let writable = found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0;
        if ![0, owner].contains(&found.uid()) || (writable && !only_root_is_in_its_group(&found)) {
            tracing::warn!(
                data_dir = %folder.path.display(), above = %parent.path.display(), uid = found.uid(),
                "another user may put another directory in the place of the data directory; give both to one user"
            );
        }
    }
    Ok(folder)
}

fn enter(parent: &Folder, path: &Path) -> Result<Folder, Error> {
    let name = path.file_name().unwrap_or_default();
    let open = || openat(&parent.handle, name, DIRECTORY, Mode::empty()).map(File::from);
    let created = match open() {
        Ok(handle) => return Ok(Folder { handle, path: path.to_owned() }),
        Err(error) if error == rustix::io::Errno::NOENT => {
            mkdirat(&parent.handle, name, Mode::from_raw_mode(0o755)).and_then(|()| open())
        }
        Err(error) => Err(error),
    };
    let handle = created.map_err(|error| Error::file("open", path)(error.into()))?;
    let folder = Folder { handle, path: path.to_owned() };
    let owner = parent.metadata()?;
    // In a sticky folder such as /tmp each has what it makes.
    if owner.mode() & 0o1000 == 0 {
        folder.check_new()?;
        fchown(&folder.handle, Some(owner.uid()), Some(owner.gid()))
            .map_err(Error::file("change the owner of", path))?;
    }
    Ok(folder)
}

/// Whether only root may use what its group may do, and nobody else may do anything.
fn only_root_is_in_its_group(found: &Metadata) -> bool {
    found.mode() & 0o002 == 0 && found.gid() == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use rustix::fs::{RenameFlags, renameat_with};

    use super::*;

    /// How often a swap is tried. Without a check one of so many hits.
    const ATTEMPTS: usize = 500;

    fn folder(path: &Path) -> Folder {
        Folder { handle: File::open(path).unwrap(), path: path.to_owned() }
    }

    #[test]
    fn what_was_put_in_the_place_of_a_new_folder_is_not_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("new");
        fs::create_dir(&new).unwrap();
        folder(&new).check_new().unwrap();
        fs::write(new.join("secret"), "").unwrap();
        let error = folder(&new).check_new().unwrap_err();
        assert!(matches!(&error, Error::Unsafe { path, .. } if *path == new), "{error}");
        if effective_user() == 0 {
            let others = dir.path().join("others");
            fs::create_dir(&others).unwrap();
            chown(&others, Some(65_534), None).unwrap();
            folder(&others).check_new().unwrap_err();
        }
    }

    /// The owner of the folder that both are in can swap a new folder with one of root's.
    #[test]
    fn a_folder_of_roots_stays_roots_though_it_is_swapped_with_a_new_one() {
        if effective_user() != 0 {
            eprintln!("not run: only root gives folders away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(65_534), None).unwrap();
        let (roots, new) = (dir.path().join("roots"), dir.path().join("new"));
        fs::create_dir(&roots).unwrap();
        fs::write(roots.join("key"), "").unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = renameat_with(CWD, &roots, CWD, &new, RenameFlags::EXCHANGE);
                }
            });
            for _ in 0..ATTEMPTS {
                let _ = enter(&folder(dir.path()), &new);
                // Only an empty folder can be removed, and only a name that is free is taken.
                let _ = [&new, &roots].map(fs::remove_dir);
                let _ = renameat_with(CWD, &new, CWD, &roots, RenameFlags::NOREPLACE);
            }
            over.store(true, Ordering::Relaxed);
        });
        let at = if roots.join("key").exists() { roots } else { new };
        assert_eq!(fs::metadata(at).unwrap().uid(), 0);
    }
}
