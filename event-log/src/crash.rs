//! Named points at which a test can kill the process, as `kill -9` would: between two steps that do not happen as
//! one. Release builds have none.

/// Kills this process if the variable `CRASH_AT` names this point.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var("CRASH_AT").is_ok_and(|at| at == name) {
        die(name);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
#[expect(unsafe_code, reason = "libc's kill, with this process's own id: nothing runs after it")]
fn die(name: &str) -> ! {
    tracing::error!(point = name, "killed by CRASH_AT");
    loop {
        // SAFETY: takes two integers, and touches no memory.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}
