//! The server's settings, given on its command line so that `ALTER SYSTEM` cannot override them.

use std::ffi::OsString;
use std::path::Path;

use sysinfo::System;

const MIB: u64 = 1 << 20;

/// Settings that make acknowledged commits survive a power cut; nothing overrides them.
const DURABLE: [(&str, &str); 3] =
    [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")];

/// Settings that do not depend on the machine, each with its reason.
const FIXED: [(&str, &str); 12] = [
    // The server is reachable only through the socket in a private directory.
    ("listen_addresses", ""),
    ("unix_socket_permissions", "0700"),
    // The port is part of the socket's name, which clients must know.
    ("port", "5432"),
    // The service's pools take about 40 connections; the rest is for tools and tests.
    ("max_connections", "60"),
    // After a checkpoint each page is logged whole when it is first changed; compression makes that cheaper for the
    // disk.
    ("wal_compression", "on"),
    // Few checkpoints under a stream of inserts, as `max_wal_size` allows.
    ("checkpoint_timeout", "15min"),
    // Queries are short; compiling them would take longer than running them.
    ("jit", "off"),
    // Times in the log and in casts must not depend on the machine.
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // This process chooses the log's place, and quotes the log in errors.
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] "),
];

/// The server's arguments. If a setting has two values, the last one wins.
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
    set("max_wal_size", format!("{}MB", max_wal_size(disk(cluster)) / MIB).into());
    // The setting is a list: quotes keep a comma in the path from splitting it.
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

/// An eighth of the memory, within bounds that pay off on one node: the service and the system's cache need the rest.
fn shared_buffers(memory: u64) -> u64 {
    (memory / 8).clamp(128 * MIB, 1024 * MIB)
}

/// The least and the largest size, in bytes, of the write-ahead log between two checkpoints. A larger one saves no more
/// work; it also bounds how much a recovery has to replay.
const WAL: (u64, u64) = (128 * MIB, 4096 * MIB);
/// The part of the disk that the write-ahead log may take: one in this many.
const WAL_SHARE: u64 = 16;

/// A share of the disk, within bounds, so that the write-ahead log alone does not fill a small one.
fn max_wal_size(disk: u64) -> u64 {
    (disk / WAL_SHARE).clamp(WAL.0, WAL.1)
}

/// The size of the file system that holds `path`, in bytes; if unknown, it counts as large.
fn disk(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(u64::MAX, |found| found.f_blocks.saturating_mul(found.f_frsize))
}

/// The memory that this process may use, in bytes: the machine's, or its container's if that is less; 0 if unknown.
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
    fn the_write_ahead_log_leaves_most_of_a_small_disk_to_the_data() {
        assert_eq!(max_wal_size(1024 * MIB), 128 * MIB);
        assert_eq!(max_wal_size(16_384 * MIB), 1024 * MIB);
        assert_eq!(max_wal_size(u64::MAX), 4096 * MIB);
    }

    #[test]
    fn shared_buffers_follow_the_memory_within_bounds() {
        assert_eq!(shared_buffers(512 * MIB), 128 * MIB);
        assert_eq!(shared_buffers(4096 * MIB), 512 * MIB);
        assert_eq!(shared_buffers(65_536 * MIB), 1024 * MIB);
    }
}
