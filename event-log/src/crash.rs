//! Named points at which a test can kill the process, as `kill -9` would, or freeze it: between two steps that do not
//! happen as one. Release builds have none.

/// Kills this process if the variable `CRASH_AT` names this point, and freezes it, once, if `FREEZE_AT` does: until
/// somebody sends it `SIGCONT`.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    {
        let is_here = |variable| std::env::var(variable).is_ok_and(|at| at == name);
        if is_here("CRASH_AT") {
            die(name);
        }
        if is_here("FREEZE_AT") {
            static FROZEN: std::sync::Once = std::sync::Once::new();
            FROZEN.call_once(|| freeze(name));
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
fn die(name: &str) -> ! {
    tracing::error!(point = name, "killed by CRASH_AT");
    loop {
        signal(libc::SIGKILL);
    }
}

#[cfg(debug_assertions)]
fn freeze(name: &str) {
    tracing::error!(point = name, "frozen by FREEZE_AT");
    signal(libc::SIGSTOP);
}

#[cfg(debug_assertions)]
#[expect(unsafe_code, reason = "libc's kill, with this process's own id")]
fn signal(signal: libc::c_int) {
    // SAFETY: takes two integers, and touches no memory.
    unsafe { libc::kill(libc::getpid(), signal) };
}
