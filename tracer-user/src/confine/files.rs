//! Files, by Landlock (`Documentation/userspace-api/landlock.rst`): what is to be written is open by now.

use std::io;

/// `LANDLOCK_CREATE_RULESET_VERSION` of `linux/landlock.h`.
const VERSION: u32 = 1;

/// `LANDLOCK_ACCESS_FS_*`: EXECUTE and WRITE_FILE, and what makes and removes files, MAKE_SYM the last.
const WRITES: u64 = 0b1_1111_1111_0011;
/// TRUNCATE, since version 3.
const TRUNCATE: u64 = 1 << 14;

/// This kernel has Landlock.
#[cfg(test)]
pub(super) fn is_there() -> bool {
    version().is_ok()
}

fn version() -> io::Result<i32> {
    // SAFETY: with this flag nothing is read.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u64>(),
            0_usize,
            VERSION,
        )
    };
    result(version)
}

/// The calling thread, and those that it starts, open nothing for writing, and make, remove and execute nothing. What is
/// open stays so. To be called with no_new_privs.
///
/// # Errors
/// This kernel has no Landlock, or it is off.
pub(super) fn give_up() -> io::Result<()> {
    let handled = match version()? {
        1 | 2 => WRITES,
        _ => WRITES | TRUNCATE,
    };
    // SAFETY: the kernel reads the 8 bytes of `handled`, the first member of `struct landlock_ruleset_attr`.
    let rules = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const handled,
            size_of_val(&handled),
            0_u32,
        )
    };
    let rules = result(rules)?;
    // SAFETY: both take numbers alone; the descriptor is ours.
    let done = unsafe {
        let done = libc::syscall(libc::SYS_landlock_restrict_self, rules, 0_u32);
        libc::close(rules);
        done
    };
    result(done).map(drop)
}

fn result(returned: libc::c_long) -> io::Result<i32> {
    match i32::try_from(returned) {
        Ok(returned) if returned >= 0 => Ok(returned),
        _ => Err(io::Error::last_os_error()),
    }
}
