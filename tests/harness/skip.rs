//! What a test needs of the machine, and how many tests really ran.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::peer::Peer;

/// Ends the test, with the reason printed, when something that it needs of the machine is not there.
#[macro_export]
macro_rules! require {
    ($($need:expr),+ $(,)?) => {
        $(if let Some(reason) = $crate::skip::Need::missing(&$need) {
            $crate::skip::say(&reason);
            return;
        })+
    };
}

/// Something that a test needs.
pub trait Need {
    /// Why it is not there, with the remedy; None when it is.
    fn missing(&self) -> Option<String>;
}

/// The privileges to load BPF programs.
pub struct Privileges;

impl Need for Privileges {
    fn missing(&self) -> Option<String> {
        // SAFETY: geteuid(2) has no preconditions.
        (unsafe { libc::geteuid() } != 0)
            .then(|| "tracing needs root: run the tests with sudo".to_owned())
    }
}

impl Need for Peer {
    fn missing(&self) -> Option<String> {
        let file = self.file();
        (!file.exists()).then(|| {
            let piece = self.piece();
            format!(
                "{} is not installed: cargo xtask setup --only {piece}",
                self.name()
            )
        })
    }
}

/// A system program, by name.
pub struct Program(pub &'static str);

impl Program {
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/usr/bin".into()])
            .map(|folder| folder.join(self.0))
            .find(|file| file.is_file())
    }
}

impl Need for Program {
    fn missing(&self) -> Option<String> {
        self.path().is_none().then(|| {
            format!(
                "{} is not installed: cargo xtask setup --only programs",
                self.0
            )
        })
    }
}

/// io_uring, which a kernel may refuse.
pub struct IoUring;

impl Need for IoUring {
    fn missing(&self) -> Option<String> {
        // `struct io_uring_params`, all zero: nothing special is asked for.
        let mut parameters = [0u64; 15];
        // SAFETY: the kernel writes the parameters' 120 bytes.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()) };
        if fd < 0 {
            let error = std::io::Error::last_os_error();
            return Some(format!(
                "io_uring is refused: {error} (sysctl kernel.io_uring_disabled=0)"
            ));
        }
        // SAFETY: the descriptor is ours.
        unsafe { libc::close(fd as i32) };
        None
    }
}

/// 32-bit system calls, which a kernel may lack.
#[cfg(target_arch = "x86_64")]
pub struct Calls32;

#[cfg(target_arch = "x86_64")]
impl Need for Calls32 {
    fn missing(&self) -> Option<String> {
        // In a child: without them it is a fault.
        // SAFETY: the child makes two system calls and nothing else; the parent waits for it.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: getpid(2), 20 there, has no memory effects; _exit does not return.
            unsafe {
                let mut pid = 20u64;
                std::arch::asm!("int 0x80", inout("rax") pid, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
                libc::_exit(i32::from(pid != libc::getpid() as u64));
            }
        }
        let mut status = 0;
        // SAFETY: the status outlives the call.
        unsafe { libc::waitpid(child, &mut status, 0) };
        (status != 0).then(|| {
            "this kernel has no 32-bit system calls (CONFIG_IA32_EMULATION, ia32_emulation=on)"
                .to_owned()
        })
    }
}

/// Says that the current test, or a part of it, is skipped, and why. The line also goes into the file that
/// `H2TRACE_SKIPPED` names, so that the gate can print all of them at its end.
pub fn say(reason: &str) {
    println!("SKIPPED: {reason}");
    append("H2TRACE_SKIPPED", &skipped_line(&current_test(), reason));
}

/// What `cargo xtask test` reads: the test and the reason, a tab between them.
fn skipped_line(test: &str, reason: &str) -> String {
    let words: Vec<&str> = reason.split_whitespace().collect();
    format!("{test}\t{}", words.join(" "))
}

/// Notes that the current test runs for real: its name goes into the file that `H2TRACE_LIVE_COUNT` names,
/// so that the gate can fail when every live test was skipped.
pub fn note_that_it_runs() {
    append("H2TRACE_LIVE_COUNT", &current_test());
}

fn current_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

/// Appends a line to the file that a variable names, if it does. One write, so that lines of tests that run at once
/// do not mix.
fn append(variable: &str, line: &str) {
    let Some(path) = std::env::var_os(variable) else {
        return;
    };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        panic!("cannot write {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(
            skipped_line("a::b", "no x:\n\tit is not there\n"),
            "a::b\tno x: it is not there"
        );
    }
}
