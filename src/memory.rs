//! Returns freed memory to the system.

/// From this size on, in bytes, glibc maps each block separately and returns it as soon as it is freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 1 << 20;

/// Makes glibc return large blocks to the system when they are freed: a projection that catches up then takes 126 MiB
/// instead of 221. By default glibc raises this threshold with each large block that is freed, up to 32 MiB, and memory
/// freed by folds and batches stays scattered over its heaps.
///
/// Does nothing with other allocators. Call it before other threads exist.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator's settings have no safe interface")]
    // The call sets one number of the allocator, and changes nothing if it fails.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
