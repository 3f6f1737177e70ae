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
            println!("SKIPPED: {reason}");
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
    /// Where it is.
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

/// Notes that the current test runs for real: its name goes into the file that `H2TRACE_LIVE_COUNT` names,
/// so that the gate can fail when every live test was skipped.
pub fn note_that_it_runs() {
    let Some(path) = std::env::var_os("H2TRACE_LIVE_COUNT") else {
        return;
    };
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{name}")) {
        panic!("cannot write {}: {error}", path.display());
    }
}
