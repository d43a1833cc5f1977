//! The server's settings, given on its command line: what is there, `ALTER SYSTEM` cannot change.

use std::ffi::OsString;
use std::path::Path;

use sysinfo::System;

const MIB: u64 = 1 << 20;

/// What is acknowledged survives a power cut; nothing overrides these.
const DURABLE: [(&str, &str); 3] =
    [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];

/// The settings that do not depend on the machine, each with its reason.
const FIXED: [(&str, &str); 13] = [
    // Reachable through the socket in a private directory only.
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    // Part of the socket's name, which clients must know.
    ("port", "5432"),
    // The service's pools take about 40; the rest is for tools and tests.
    ("max_connections", "60"),
    // After a checkpoint every page first touched is logged whole: compressed, that costs less of the disk.
    ("wal_compression", "on"),
    // Few checkpoints under a stream of inserts; bounds recovery to replaying this much.
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    // Queries are short; compiling them would take longer than running them.
    ("jit", "off"),
    // Times in the log and in casts do not depend on the machine.
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // The log is this process's to place and to quote in errors.
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] "),
];

/// The server's arguments: the last of two values for one setting wins.
pub(super) fn arguments(cluster: &Path, socket_dir: &Path, extra: &[(String, String)]) -> Vec<OsString> {
    let mut arguments = vec!["-D".into(), cluster.into()];
    let mut set = |name: &str, value: OsString| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value);
        arguments.extend(["-c".into(), setting]);
    };
    for (name, value) in FIXED {
        set(name, value.into());
    }
    set("shared_buffers", format!("{}MB", shared_buffers(memory()) / MIB).into());
    // The setting is a list: the quotes keep a comma in the path from dividing it.
    let mut quoted = OsString::from("\"");
    quoted.push(socket_dir);
    quoted.push("\"");
    set("unix_socket_directories", quoted);
    for (name, value) in extra {
        set(name, value.into());
    }
    for (name, value) in DURABLE {
        set(name, value.into());
    }
    arguments
}

/// An eighth of the memory, within what pays off on one node: the service and the system's cache need the rest.
fn shared_buffers(memory: u64) -> u64 {
    (memory / 8).clamp(128 * MIB, 1024 * MIB)
}

/// The bytes of memory this process may use: the machine's, or its container's where that is less; 0 if unknown.
fn memory() -> u64 {
    let Ok(mut system) = System::new() else { return 0 };
    system.refresh_memory();
    let container = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(container)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_buffers_follow_the_memory_within_bounds() {
        assert_eq!(shared_buffers(512 * MIB), 128 * MIB);
        assert_eq!(shared_buffers(4096 * MIB), 512 * MIB);
        assert_eq!(shared_buffers(65_536 * MIB), 1024 * MIB);
    }
}
