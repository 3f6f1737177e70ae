//! The programs of the suites, and the servers that h2spec is run against.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tracer_tests::peer::installed;
use tracer_tests::process::Process;
use tracer_tests::skip::{Need, Program};
use tracer_tests::{eventually, free_port};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);

/// A program of the piece `conformance`.
pub(crate) struct Suite(pub(crate) &'static str);

impl Suite {
    fn file(&self) -> PathBuf {
        installed("conformance").join(self.0)
    }

    pub(crate) fn command(&self) -> Command {
        Command::new(self.file())
    }
}

impl Need for Suite {
    fn missing(&self) -> Option<String> {
        (!self.file().is_file()).then(|| {
            format!(
                "{} is not installed: cargo xtask setup --only conformance",
                self.0
            )
        })
    }
}

/// A mode of our own program of the suites.
pub(crate) fn conformance(mode: &str) -> Command {
    let mut command = Suite("conformance").command();
    command.arg(mode);
    command
}

/// A server on loopback.
pub(crate) struct TestedServer {
    pub(crate) process: Process,
    pub(crate) port: u16,
    _folder: Option<TempDir>,
}

impl TestedServer {
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// One that prints `ready ADDRESS`.
    pub(crate) fn that_says_where(name: &str, command: &mut Command) -> TestedServer {
        let process = Process::start(name, command);
        let port = process.wait_for_line(0, START, |line| {
            line.strip_prefix("ready ")?
                .rsplit(':')
                .next()?
                .parse()
                .ok()
        });
        TestedServer {
            process,
            port,
            _folder: None,
        }
    }

    /// One that is told a port and says nothing.
    pub(crate) fn told(
        name: &str,
        command: &mut Command,
        port: u16,
        folder: Option<TempDir>,
    ) -> TestedServer {
        let mut process = Process::start(name, command);
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(
            eventually(START, || listens() || !process.is_running()) && listens(),
            "{name} does not listen{}",
            process.complaint()
        );
        TestedServer {
            process,
            port,
            _folder: folder,
        }
    }
}

/// An HTTP/2 implementation that h2spec tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tested {
    Nghttpd,
    Go,
    Nginx,
}

impl Tested {
    pub(crate) const ALL: [Tested; 3] = [Tested::Nghttpd, Tested::Go, Tested::Nginx];

    /// As the table names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Tested::Nghttpd => "nghttpd",
            Tested::Go => "Go",
            Tested::Nginx => "nginx",
        }
    }

    pub(crate) fn start(self) -> TestedServer {
        let folder = TempDir::new().expect("cannot make a folder for a server");
        std::fs::write(folder.path().join("index.html"), "a page\n").expect("cannot write a page");
        let port = free_port();
        match self {
            Tested::Go => TestedServer::that_says_where("the Go server", &mut conformance("h2c")),
            Tested::Nghttpd => {
                let mut command = Command::new("nghttpd");
                command.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]);
                command.arg(folder.path()).arg(port.to_string());
                TestedServer::told("nghttpd", &mut command, port, Some(folder))
            }
            Tested::Nginx => {
                let template = tracer_tests::workspace().join("tests/peers/conformance/nginx.conf");
                let text = std::fs::read_to_string(&template)
                    .unwrap_or_else(|error| panic!("cannot read {}: {error}", template.display()));
                let text = text
                    .replace("@LISTEN_PORT@", &port.to_string())
                    .replace("@FOLDER@", &folder.path().display().to_string());
                let configuration = folder.path().join("nginx.conf");
                std::fs::write(&configuration, text).expect("cannot write nginx's configuration");
                let mut command = Command::new(Program("nginx").path().unwrap_or_default());
                command
                    .arg("-p")
                    .arg(folder.path())
                    .arg("-c")
                    .arg(&configuration);
                command.args(["-e", "stderr"]);
                TestedServer::told("nginx", &mut command, port, Some(folder))
            }
        }
    }
}

impl Need for Tested {
    fn missing(&self) -> Option<String> {
        match self {
            Tested::Nghttpd => Program("nghttpd").missing(),
            Tested::Go => Suite("conformance").missing(),
            Tested::Nginx => Program("nginx").missing(),
        }
    }
}
