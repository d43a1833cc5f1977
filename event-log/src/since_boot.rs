//! A clock that goes on while the machine sleeps, for what must be over by then wherever else time went on: a lease in
//! Postgres, the time by Postgres's clock. On Linux `Instant` stands still in a suspended machine.

use std::time::Duration;

/// A moment, as the time since this machine was started, its sleep included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceBoot(Duration);

impl SinceBoot {
    /// The present moment.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn now() -> Self {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // Neither part of a time since boot is negative.
        let (seconds, nanoseconds) = (at.tv_sec.unsigned_abs(), at.tv_nsec.unsigned_abs());
        Self(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
    }

    /// The present moment, by a clock that stands still while the machine sleeps: this system gives no other.
    #[cfg(not(target_os = "linux"))]
    #[must_use]
    pub fn now() -> Self {
        static STARTED: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        Self(STARTED.elapsed())
    }

    /// How long ago it was.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How long it was after another moment. Zero if it was before.
    #[must_use]
    pub fn since(self, before: Self) -> Duration {
        self.0.saturating_sub(before.0)
    }

    /// The moment so much later.
    #[must_use]
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0 + later)
    }

    /// The moment so much earlier, but none before the start.
    #[cfg(test)]
    pub(crate) fn minus(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;

    /// How much longer than the monotonic clock it has gone.
    fn ahead() -> Duration {
        let awake = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        SinceBoot::now().0.saturating_sub(Duration::from_secs(awake.tv_sec.unsigned_abs()))
    }

    #[test]
    #[ignore = "is run by the test below, in a machine that has slept"]
    fn in_a_machine_that_has_slept() {
        assert!(ahead() >= Duration::from_secs(100_000), "{:?}", ahead());
    }

    #[test]
    fn it_goes_on_while_the_machine_sleeps() {
        // A namespace in which the machine has slept for 100,000 s.
        let asleep = ["--user", "--map-root-user", "--time", "--boottime", "100000"];
        let within = |program: &std::path::Path, arguments: &[&str]| {
            Command::new("unshare").args(asleep).arg(program).args(arguments).output()
        };
        if !within("true".as_ref(), &[]).is_ok_and(|tried| tried.status.success()) {
            eprintln!("not tested: this system gives no namespace of time");
            return;
        }
        let this = std::env::current_exe().expect("this test");
        let name = "since_boot::tests::in_a_machine_that_has_slept";
        let tested = within(&this, &["--exact", name, "--ignored"]).expect("run");
        let said = String::from_utf8_lossy(&tested.stdout);
        assert!(tested.status.success() && said.contains("1 passed"), "{said}");
    }
}
