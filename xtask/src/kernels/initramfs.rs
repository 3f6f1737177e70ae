//! The root of a guest: an archive in memory, with an init script that runs the steps.
//!
//! The archive is a cpio of format newc (`Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel),
//! not compressed: unpacking it would take an emulated processor longer than reading it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::console::MARKER;
use super::steps::{DEMO_PROGRAM, GuestStep, demo_script};

/// A file of the archive.
pub(super) struct Entry {
    /// Its path in the guest, without the first slash.
    pub(super) path: String,
    /// Where it is here.
    pub(super) from: PathBuf,
}

impl Entry {
    pub(super) fn new(path: impl Into<String>, from: impl Into<PathBuf>) -> Self {
        Entry {
            path: path.into(),
            from: from.into(),
        }
    }
}

const FOLDERS: [&str; 5] = ["dev", "proc", "root", "sys", "tmp"];

/// Where the peers are that `cargo xtask setup` has installed.
pub(super) const PEERS: &str = "peers";

/// File systems that the kernel makes up: type, and where it is mounted.
const MOUNTS: [(&str, &str); 9] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    // Envoy shares memory by a name (shm_open(3)).
    ("tmpfs", "/dev/shm"),
    ("tracefs", "/sys/kernel/tracing"),
    ("securityfs", "/sys/kernel/security"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// What the kernel logs when something in it goes wrong. Not "soft lockup" and "stall", and not "Call Trace", which
/// stands below these too: a virtual processor that the busy machine below does not run looks so.
const TROUBLE: &str =
    "Oops|kernel BUG at|BUG: unable|BUG: sleeping|BUG: scheduling|WARNING: CPU|general protection";

/// Writes the archive: `entries`, among them `bin/busybox`, and the init script.
///
/// # Errors
/// When a file cannot be read, or the archive not be written.
pub(super) fn write<'a>(
    archive: &Path,
    entries: impl IntoIterator<Item = &'a Entry>,
    steps: &[GuestStep],
) -> anyhow::Result<()> {
    let file =
        File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let mut out = Archive::new(BufWriter::new(file));
    for folder in FOLDERS {
        out.folder(folder)?;
    }
    for entry in entries {
        let bytes = fs::read(&entry.from)
            .with_context(|| format!("cannot read {}", entry.from.display()))?;
        out.program(&entry.path, &bytes)?;
    }
    let look = format!("#!/bin/sh\n! dmesg | grep -E '{TROUBLE}'\n");
    out.program("bin/look-into-the-kernels-log", look.as_bytes())?;
    let demo = format!("bin/{DEMO_PROGRAM}");
    out.program(&demo, demo_script().as_bytes())?;
    out.program("init", init(steps).as_bytes())?;
    out.finish()
        .with_context(|| format!("cannot write {}", archive.display()))
}

/// The script that the kernel starts.
fn init(steps: &[GuestStep]) -> String {
    let mut script = vec![
        "#!/bin/busybox sh".to_owned(),
        "export PATH=/bin HOME=/root TMPDIR=/tmp NO_COLOR=1".to_owned(),
        format!("export H2TRACE_BINARY=/bin/h2trace H2TRACE_PEERS_DIR=/{PEERS}"),
        "/bin/busybox --install -s /bin".to_owned(),
        // Each on a line of its own, whatever was printed before.
        format!("say() {{ printf '\\n{MARKER}%s\\n' \"$*\"; }}"),
        "step() {".to_owned(),
        "    name=$1 limit=$2".to_owned(),
        "    shift 2".to_owned(),
        "    say begin $name".to_owned(),
        "    timeout -s KILL $limit \"$@\" </dev/null 2>&1".to_owned(),
        "    status=$?".to_owned(),
        "    say end $name $status".to_owned(),
        "    return $status".to_owned(),
        "}".to_owned(),
    ];
    for (kind, place) in MOUNTS {
        script.push(format!(
            "mkdir -p {place}; mount -t {kind} {kind} {place} || say broken no {kind} at {place}"
        ));
    }
    script.extend(
        [
            "ip link set lo up || say broken no loopback",
            // Only panics shall stand between the lines of this script.
            "dmesg -n 1",
            "say release $(uname -r)",
        ]
        .map(str::to_owned),
    );
    for step in steps {
        script.push(format!(
            "{}step {} {} {}",
            if step.depends { "[ $? = 0 ] && " } else { "" },
            step.name,
            step.limit.as_secs(),
            step.command.join(" ")
        ));
    }
    script.push("say complete".to_owned());
    script.push("poweroff -f".to_owned());
    script.join("\n") + "\n"
}

/// A cpio archive that is written.
struct Archive<W> {
    out: W,
    entries: u32,
    /// That are written.
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Archive {
            out,
            entries: 0,
            folders: BTreeSet::new(),
        }
    }

    /// A folder, and those above it.
    fn folder(&mut self, name: &str) -> io::Result<()> {
        if self.folders.contains(name) {
            return Ok(());
        }
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above)?;
        }
        self.folders.insert(name.to_owned());
        self.entry(name, 0o040_755, &[])
    }

    fn program(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above)?;
        }
        self.entry(name, 0o100_755, bytes)
    }

    fn finish(mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let too_long = |_| io::Error::other(format!("{name} is too long for an archive"));
        let size = u32::try_from(bytes.len()).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        // inode, mode, uid, gid, links, mtime, size, device (2), device of a node (2), size of the name, checksum.
        let header = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.out.write_all(b"070701")?;
        for field in header {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(b"\0")?;
        self.pad(110 + name.len() + 1)?;
        self.out.write_all(bytes)?;
        self.pad(bytes.len())
    }

    /// Names and contents end at a multiple of four bytes.
    fn pad(&mut self, len: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..len.next_multiple_of(4) - len])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn archive_is_laid_out_as_the_kernel_reads_it() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.folder("bin").unwrap();
        archive.program("init", b"#!x\n1").unwrap();
        archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let zero = "00000000";
        let folder = format!(
            "07070100000001000041ed{zero}{zero}00000001{zero}{zero}{zero}{zero}{zero}{zero}00000004{zero}bin\0\0\0"
        );
        let program = format!(
            "07070100000002000081ed{zero}{zero}00000001{zero}00000005{zero}{zero}{zero}{zero}00000005{zero}init\0\0#!x\n1\0\0\0"
        );
        assert_eq!(folder.len() % 4, 0);
        assert!(text.starts_with(&(folder.clone() + &program)), "{text:?}");
        let trailer = &text[folder.len() + program.len()..];
        assert!(trailer.contains("0000000b00000000TRAILER!!!\0"));
        assert_eq!(text.len() % 4, 0);
    }

    #[test]
    fn folders_stand_before_what_is_in_them_and_once() {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        archive.program("lib/x/a", b"").unwrap();
        archive.program("lib/x/b", b"").unwrap();
        archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let places: Vec<_> = ["lib\0", "lib/x\0", "lib/x/a\0", "lib/x/b\0"]
            .iter()
            .map(|name| text.find(name).unwrap())
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("lib/x\0").count(), 1);
    }

    /// The script is held against a real shell: it must be able to read it, and its lines must be those that
    /// the console's reader knows.
    #[test]
    fn the_init_script_says_what_the_reader_of_the_console_knows() {
        let step = |name, word, depends| GuestStep {
            name,
            command: vec![word],
            limit: Duration::from_secs(5),
            depends,
        };
        let script = init(&[
            step("good", "true", false),
            step("bad", "false", true),
            step("never", "true", true),
            step("last", "true", false),
        ]);
        let (head, steps) = script.split_once("step good").unwrap();
        let functions = head
            .split_once("say()")
            .and_then(|(_, rest)| rest.split_once("mkdir"))
            .unwrap()
            .0;
        // What programs of the guest take for granted: Envoy ends at once where it cannot share memory.
        assert!(head.contains("mkdir -p /dev/shm; mount -t tmpfs tmpfs /dev/shm "));
        let steps = steps.replace("poweroff -f\n", "");
        let run = format!("say(){functions}\nstep good{steps}");
        let said = std::process::Command::new("sh")
            .args(["-c", &run])
            .output()
            .unwrap();
        let mut console = super::super::console::Console::default();
        for line in String::from_utf8(said.stdout).unwrap().lines() {
            console.line(Duration::ZERO, line);
        }
        let steps: Vec<_> = console
            .steps
            .iter()
            .map(|step| (step.name.as_str(), step.status))
            .collect();
        assert_eq!(
            steps,
            [("good", Some(0)), ("bad", Some(1)), ("last", Some(0))]
        );
        assert!(console.is_complete, "{:?}", console.broken);
    }

    #[test]
    fn processor_that_was_not_run_is_no_trouble_of_the_kernel() {
        let is_trouble = |log: &str| {
            let found = std::process::Command::new("sh")
                .args([
                    "-c",
                    "printf '%s' \"$1\" | grep -Eq \"$2\"",
                    "sh",
                    log,
                    TROUBLE,
                ])
                .status()
                .unwrap();
            found.success()
        };
        let stalled = "\
[   57.30] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   57.30] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [swapper/1:0]
[   57.30] Call Trace:
[   57.30]  <TASK>
";
        assert!(!is_trouble(stalled));
        let warned = "[   57.30] WARNING: CPU: 0 PID: 1 at kernel/bpf/verifier.c:1 check+0x1/0x2";
        assert!(is_trouble(&format!("{stalled}{warned}")));
        assert!(is_trouble("[   57.30] Oops: 0002 [#1] PREEMPT SMP"));
    }
}
