//! The sandbox that a cluster lives in: a folder, a cgroup, a mount and a network namespace of its own, and a
//! custodian that clears all of it away, also when the tests are killed.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a program may take to connect.
const CONNECT: Duration = Duration::from_secs(2);

/// A sandbox. Dropping it ends every process in it, and removes it.
pub struct Sandbox {
    name: String,
    folder: PathBuf,
    custodian: Child,
    holder: u32,
}

impl Sandbox {
    /// Makes one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Short: the paths of Unix sockets are below it.
        let name = format!("h2trace-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        let mut custodian = Command::new("sh")
            .args(["-c", include_str!("custodian.sh"), "custodian", &name])
            .arg(&folder)
            .arg(include_str!("inside.sh"))
            // Ctrl-C is for the tests; the custodian acts when they have ended.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the custodian: {error}"));
        let mut line = String::new();
        if let Some(stdout) = custodian.stdout.take() {
            // An end without a line is told below.
            drop(BufReader::new(stdout).read_line(&mut line));
        }
        let Some(holder) = line
            .strip_prefix("ready ")
            .and_then(|pid| pid.trim().parse().ok())
        else {
            let mut said = String::new();
            if let Some(mut stderr) = custodian.stderr.take() {
                drop(stderr.read_to_string(&mut said));
            }
            drop(custodian.wait());
            panic!("cannot make the cluster's namespaces; it says:\n{said}");
        };
        Sandbox {
            name,
            folder,
            custodian,
            holder,
        }
    }

    /// The name of its cgroup, in every hierarchy.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder; programs inside see it under the same path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process that holds its namespaces.
    #[must_use]
    pub fn holder(&self) -> u32 {
        self.holder
    }

    /// A command that runs inside: in the namespaces and the cgroup.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.to_string(), "--mount", "--net"]);
        let join = format!(
            "echo $$ >{}/cgroup.procs && exec \"$0\" \"$@\"",
            self.unified().join("system").display()
        );
        command
            .args(["--", "sh", "-c", &join])
            .arg(program.as_ref());
        command
    }

    /// Its cgroup in the unified hierarchy.
    ///
    /// # Panics
    /// When there is no such hierarchy.
    #[must_use]
    pub fn unified(&self) -> PathBuf {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let at = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let at = words.next()?;
            (words.next()? == "cgroup2").then_some(at)
        });
        Path::new(at.expect("no cgroup2 hierarchy is mounted here")).join(&self.name)
    }

    /// Makes the cgroup of the node's own programs.
    pub(super) fn make_system_group(&self) {
        let group = self.unified().join("system");
        std::fs::create_dir(&group)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", group.display()));
    }

    /// Opens a TCP connection from inside.
    ///
    /// # Errors
    /// As connecting does.
    ///
    /// # Panics
    /// When the namespace is gone.
    pub fn connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        // A socket stays in the namespace that its thread was in.
        self.inside(|| TcpStream::connect_timeout(&address, CONNECT))
    }

    /// Does it on a thread inside: threads that it starts have the network from there.
    ///
    /// # Panics
    /// When the namespace is gone.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.holder);
        let namespace = std::fs::File::open(&path)
            .unwrap_or_else(|error| panic!("cannot open {path}: {error}"));
        let acting = move || {
            // SAFETY: setns(2) has no memory effects; it moves this thread alone, which ends below.
            let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "{path}: {}", std::io::Error::last_os_error());
            act()
        };
        std::thread::scope(|scope| {
            scope
                .spawn(acting)
                .join()
                .expect("it does not panic inside")
        })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Its stdin ends: it clears away.
        drop(self.custodian.stdin.take());
        let mut said = String::new();
        if let Some(mut stderr) = self.custodian.stderr.take() {
            drop(stderr.read_to_string(&mut said));
        }
        drop(self.custodian.wait());
        if !said.trim().is_empty() {
            eprintln!("the cluster's custodian says: {}", said.trim());
        }
    }
}
