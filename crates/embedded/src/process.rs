//! A child process that cannot outlive its owner.
//!
//! Linux sends a child its parent-death signal when the *thread* that started it ends. So every child has its own
//! thread, which starts it, waits for it and reaps it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

/// A signal number, as in [`libc`].
pub type Signal = libc::c_int;

/// The user that a child runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// The user of this process.
    Caller,
    /// Root in a user namespace without root's powers, but still the owner of root's files: for servers that refuse
    /// root.
    UnprivilegedRoot,
    /// Another user; only root may choose this.
    User {
        /// The user's id.
        uid: u32,
        /// The id of the user's first group.
        gid: u32,
    },
}

impl RunAs {
    /// Makes `command` start as this user, in a process group of its own (so that the terminal's Ctrl-C reaches only the
    /// owner, which drains first), and receive `on_owner_death` when the thread that starts it ends.
    pub fn prepare(self, command: &mut Command, on_owner_death: Signal) {
        if let Self::User { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command.process_group(0);
        sys::before_exec(command, self == Self::UnprivilegedRoot, on_owner_death);
    }
}

/// A running child. Dropping it sends the signal given to [`Process::spawn`] and does not wait.
#[derive(Debug)]
pub struct Process {
    /// The child's id until it is reaped: after that the number may be another process's.
    pid: Arc<Mutex<Option<u32>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    on_drop: Signal,
}

impl Process {
    /// Starts `command`. The child gets `on_owner_death` when this process ends in whatever way, and `on_drop` when the
    /// returned value is dropped.
    pub async fn spawn(
        mut command: Command,
        run_as: RunAs,
        on_owner_death: Signal,
        on_drop: Signal,
    ) -> io::Result<Self> {
        run_as.prepare(&mut command, on_owner_death);
        let (started, receiver) = oneshot::channel();
        thread::Builder::new().name("child-owner".into()).spawn(move || own(command, on_drop, started))?;
        receiver.await.map_err(io::Error::other)?
    }

    /// Sends a signal, unless the child has ended.
    pub fn signal(&self, signal: Signal) {
        // The lock keeps the child from being reaped, so that its id cannot belong to another process.
        if let Some(pid) = *lock(&self.pid) {
            let _ = sys::kill(pid, signal);
        }
    }

    /// The child's id; `None` once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        *lock(&self.pid)
    }

    /// Resolves when the child has ended and is reaped. May be called any number of times.
    pub fn exited(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await.map(|status| *status) {
                Ok(Some(status)) => status,
                // The owning thread sends before it ends, so this is never reached.
                _ => std::future::pending().await,
            }
        }
    }

    /// Sends each signal in turn and waits for the time given with it, and finally sends SIGKILL.
    pub async fn stop(&self, signals: &[(Signal, Duration)]) -> ExitStatus {
        for (signal, patience) in signals {
            self.signal(*signal);
            if let Ok(status) = timeout(*patience, self.exited()).await {
                return status;
            }
        }
        self.signal(libc::SIGKILL);
        self.exited().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(self.on_drop);
    }
}

/// The body of the thread that owns a child.
fn own(mut command: Command, on_drop: Signal, started: oneshot::Sender<io::Result<Process>>) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let pid = Arc::new(Mutex::new(Some(child.id())));
    let (sender, exit) = watch::channel(None);
    // If the receiver is gone, the returned process is dropped, which signals the child.
    let _ = started.send(Ok(Process { pid: Arc::clone(&pid), exit, on_drop }));
    sys::wait_until_ended(child.id());
    let mut pid = lock(&pid);
    let status = child.wait().unwrap_or_default();
    *pid = None;
    sender.send_replace(Some(status));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// The effective user id of this process.
#[must_use]
pub fn effective_user() -> u32 {
    sys::effective_user()
}

/// Writes all cached data of the file system that holds `path` to its disk. Does nothing on systems other than Linux.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    sys::sync_filesystem(&File::open(path)?)
}

#[expect(
    unsafe_code,
    reason = "std has no safe interface for fork hooks, signals, or waiting without reaping"
)]
mod sys {
    use std::fs::File;
    use std::io;
    #[cfg(target_os = "linux")]
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::Signal;

    pub(super) fn before_exec(command: &mut Command, unprivileged_root: bool, on_owner_death: Signal) {
        let owner = std::process::id();
        let hook = move || {
            #[cfg(target_os = "linux")]
            {
                // No id is mapped into the new namespace: the child sees itself as `nobody` and has no powers over
                // anything outside, yet the kernel still counts it as the owner of root's files.
                if unprivileged_root {
                    // SAFETY: a plain system call; the forked child has one thread.
                    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
                }
                // Last, because changing the user clears it.
                // SAFETY: a plain system call with integer arguments.
                check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, on_owner_death) })?;
                // The owner may have died before the prctl.
                // SAFETY: a plain system call that cannot fail.
                if unsafe { libc::getppid() }.cast_unsigned() != owner {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
            }
            #[cfg(not(target_os = "linux"))]
            {
                let _ = (owner, on_owner_death);
                if unprivileged_root {
                    return Err(io::Error::from_raw_os_error(libc::ENOSYS));
                }
            }
            Ok(())
        };
        // SAFETY: the hook makes only async-signal-safe calls and does not allocate.
        unsafe { command.pre_exec(hook) };
    }

    pub(super) fn kill(pid: u32, signal: Signal) -> io::Result<()> {
        // SAFETY: a plain system call with integer arguments.
        check(unsafe { libc::kill(pid.cast_signed(), signal) })
    }

    /// Blocks until the child has ended, and leaves it to be reaped.
    pub(super) fn wait_until_ended(pid: u32) {
        loop {
            let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: `info` is a valid place for the kernel to write to.
            let result =
                unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
            match check(result) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    pub(super) fn effective_user() -> u32 {
        // SAFETY: a plain system call that cannot fail.
        unsafe { libc::geteuid() }
    }

    pub(super) fn sync_filesystem(file: &File) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        // SAFETY: a plain system call on a descriptor that is open for as long as it is borrowed.
        check(unsafe { libc::syncfs(file.as_raw_fd()) })?;
        let _ = file;
        Ok(())
    }

    fn check(result: libc::c_int) -> io::Result<()> {
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
