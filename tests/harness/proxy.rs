//! Real proxies from the system's packages, each in front of one server, in the foreground and with a folder of
//! its own.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::skip::{Need, Program};

/// How long one may take to listen.
const START: Duration = Duration::from_secs(30);

/// A proxy that speaks HTTP/2 in clear text on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// nginx with `grpc_pass`: one process, one stream a connection upstream.
    Nginx,
    Haproxy,
    /// HAProxy in mode TCP: it moves bytes from socket to socket.
    HaproxyTcp,
    Nghttpx,
    /// Caddy with `reverse_proxy h2c://`.
    Caddy,
    /// Apache httpd with `mod_proxy_http2`: one thread reads a request, another passes it on.
    Apache,
}

impl ProxyKind {
    pub const ALL: [ProxyKind; 5] = [
        ProxyKind::Nginx,
        ProxyKind::Haproxy,
        ProxyKind::Nghttpx,
        ProxyKind::Caddy,
        ProxyKind::Apache,
    ];

    #[must_use]
    pub const fn program(self) -> Program {
        Program(match self {
            ProxyKind::Nginx => "nginx",
            ProxyKind::Haproxy | ProxyKind::HaproxyTcp => "haproxy",
            ProxyKind::Nghttpx => "nghttpx",
            ProxyKind::Caddy => "caddy",
            ProxyKind::Apache => "apache2",
        })
    }

    /// Its configuration under tests/peers, with holes; nghttpx takes arguments alone.
    const fn template(self) -> Option<&'static str> {
        match self {
            ProxyKind::Nginx => Some("nginx/nginx.conf"),
            ProxyKind::Haproxy => Some("haproxy/haproxy.cfg"),
            ProxyKind::HaproxyTcp => Some("haproxy/tcp.cfg"),
            ProxyKind::Caddy => Some("caddy/Caddyfile"),
            ProxyKind::Apache => Some("apache/apache.conf"),
            ProxyKind::Nghttpx => None,
        }
    }

    /// It can be told to pass a header field on under another name and with another value.
    #[must_use]
    pub const fn renames(self) -> bool {
        self.template().is_some()
    }
}

impl Need for ProxyKind {
    fn missing(&self) -> Option<String> {
        let program = self.program();
        program.path().is_none().then(|| {
            format!(
                "{} is not installed: cargo xtask setup --only proxies programs",
                program.0
            )
        })
    }
}

/// How it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyOptions {
    pub kind: ProxyKind,
    /// Threads that work (nginx has one; Apache as many as it likes).
    pub workers: u32,
    /// `x-call-id: N` is passed on as `x-other-id: other-N`, and `from` not at all.
    pub rename: bool,
    /// How long it waits for the server to say something, in seconds (nginx, HAProxy).
    pub read_timeout_s: u32,
}

/// As nginx has it unless it is told otherwise.
pub const READ_TIMEOUT_S: u32 = 60;

pub struct Proxy {
    pub process: Process,
    pub address: String,
    _folder: TempDir,
}

impl Proxy {
    /// Starts it in front of the server on loopback port `upstream`.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn start(options: ProxyOptions, upstream: u16) -> Self {
        let folder = TempDir::new().expect("cannot make a folder for a proxy");
        let port = crate::free_port();
        let address = format!("127.0.0.1:{port}");
        let mut command = command(options, &folder, port, upstream);
        let name = options.kind.program().0;
        let mut process = Process::start(name, &mut command);
        crate::eventually(START, || {
            TcpStream::connect(&address).is_ok() || !process.is_running()
        });
        assert!(
            process.is_running() && TcpStream::connect(&address).is_ok(),
            "{name} did not come up{}{}",
            process.complaint(),
            std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default(),
        );
        Proxy {
            process,
            address,
            _folder: folder,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn command(options: ProxyOptions, folder: &TempDir, port: u16, upstream: u16) -> Command {
    let program = options.kind.program().path();
    let mut command = Command::new(program.unwrap_or_default());
    let configuration = folder.path().join("configuration");
    if let Some(template) = options.kind.template() {
        let template = crate::workspace().join("tests/peers").join(template);
        let mut text = std::fs::read_to_string(&template)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", template.display()));
        if options.rename {
            text = text.replace("#RENAME ", "");
        }
        for (hole, value) in [
            ("@LISTEN_PORT@", &port.to_string()),
            ("@UPSTREAM_PORT@", &upstream.to_string()),
            ("@WORKERS@", &options.workers.to_string()),
            ("@READ_TIMEOUT@", &options.read_timeout_s.to_string()),
            ("@FOLDER@", &folder.path().display().to_string()),
        ] {
            text = text.replace(hole, value);
        }
        std::fs::write(&configuration, text).expect("cannot write a proxy's configuration");
    }
    match options.kind {
        ProxyKind::Nginx => {
            command.arg("-p").arg(folder.path());
            command.arg("-c").arg(&configuration);
            command.args(["-e", "stderr"]);
        }
        ProxyKind::Haproxy | ProxyKind::HaproxyTcp => {
            command.arg("-db").arg("-f").arg(&configuration);
        }
        ProxyKind::Nghttpx => {
            assert!(!options.rename, "nghttpx cannot be told to rename a field");
            command.args(["--conf=/dev/null", "--single-process", "--log-level=ERROR"]);
            command.arg(format!("--workers={}", options.workers));
            command.arg(format!("--frontend=127.0.0.1,{port};no-tls"));
            command.arg(format!("--backend=127.0.0.1,{upstream};;proto=h2"));
        }
        ProxyKind::Caddy => {
            command.args(["run", "--adapter", "caddyfile", "--config"]);
            command.arg(&configuration);
            command.env("GOMAXPROCS", options.workers.to_string());
            for name in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
                command.env(name, folder.path());
            }
        }
        ProxyKind::Apache => {
            // One process, in the foreground.
            command.arg("-X").arg("-f").arg(&configuration);
        }
    }
    command
}
