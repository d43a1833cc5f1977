//! What becomes of memory that is no longer needed.

/// From here on a block is mapped by itself, and given back as soon as it is free.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 1 << 20;

/// Has large blocks given back to the system when they are freed: a projection that catches up then takes 126 MiB and not
/// 221. Otherwise glibc raises the size that counts as large with each one that is freed, to 32 MiB in the end, and what
/// folds and batches leave behind lies scattered over its heaps.
///
/// Does nothing but with glibc. To be called before there are other threads.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator's settings have no safe interface")]
    // It sets one number of the allocator, and fails, if it does, by leaving it as it was.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
