//! Real Envoy, set up as the reference incident has it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::peer::installed;
use crate::process::Process;
use crate::program::http_get;
use crate::skip::Need;

/// A version of Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub &'static str);

impl Version {
    /// Its program.
    #[must_use]
    pub fn binary(self) -> PathBuf {
        installed(&format!("envoy-{}", self.0)).join("envoy/_bin/envoy")
    }
}

impl Need for Version {
    fn missing(&self) -> Option<String> {
        (!self.binary().is_file()).then(|| {
            format!(
                "Envoy {0} is not installed: cargo xtask setup --only envoy-{0}",
                self.0
            )
        })
    }
}

/// How it is run.
#[derive(Clone, Copy, Debug)]
pub struct EnvoyOptions {
    pub version: Version,
    /// Worker threads.
    pub concurrency: u32,
    /// `envoy.reloadable_features.allow_multiplexed_upstream_half_close`.
    pub half_close: bool,
    /// `x-call-id` and `from` do not go on to the server: nothing tells the calls apart there.
    pub hide_ids: bool,
}

/// What it does besides, as pieces of its configuration, each on one line.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// A filter before the router: an item of `http_filters`.
    pub filter: String,
    /// The route's timeout; none when nothing is said.
    pub timeout: Option<&'static str>,
    /// More of the route.
    pub route: &'static str,
    /// A comma, and `retry_policy`.
    pub retry: &'static str,
    /// The loopback address that it listens on, if it is not the usual one.
    pub host: &'static str,
    /// The server's, if that is not the usual one.
    pub upstream_host: &'static str,
    /// More of the listener's filter chain, such as its TLS.
    pub listener: String,
    /// More of the cluster.
    pub cluster: String,
    /// Options of HTTP/2 towards the server.
    pub http2: String,
}

impl More {
    fn or_usual(host: &'static str) -> &'static str {
        if host.is_empty() { "127.0.0.1" } else { host }
    }
}

/// A running Envoy in front of one server.
pub struct Envoy {
    pub process: Process,
    pub address: String,
    admin: String,
    folder: TempDir,
}

impl Envoy {
    /// Starts it in front of the server on loopback port `upstream`.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn start(options: EnvoyOptions, upstream: u16) -> Self {
        Self::with(options, &More::default(), upstream)
    }

    /// As [`Envoy::start`], and it does more.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn with(options: EnvoyOptions, more: &More, upstream: u16) -> Self {
        let folder = TempDir::new().expect("cannot make a folder for Envoy");
        let template = crate::workspace().join("tests/peers/envoy/proxy.yaml");
        let mut text = std::fs::read_to_string(&template)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", template.display()));
        let access_log = folder.path().join("access.log").display().to_string();
        let guard = "envoy.reloadable_features.allow_multiplexed_upstream_half_close: true";
        let hidden = if options.hide_ids {
            "request_headers_to_remove: [x-call-id, from]"
        } else {
            ""
        };
        for (hole, value) in [
            ("@ADMIN_PORT@", "0"),
            ("@LISTEN_PORT@", "0"),
            ("@LISTEN_HOST@", More::or_usual(more.host)),
            ("@UPSTREAM_HOST@", More::or_usual(more.upstream_host)),
            ("@LISTENER@", &more.listener),
            ("@CLUSTER@", &more.cluster),
            ("@HTTP2@", &more.http2),
            ("@UPSTREAM_PORT@", &upstream.to_string()),
            ("@ACCESS_LOG@", &access_log),
            ("@HIDDEN@", hidden),
            ("@RUNTIME@", if options.half_close { guard } else { "" }),
            ("@TIMEOUT@", more.timeout.unwrap_or("0s")),
            ("@RETRY@", more.retry),
            ("@ROUTE@", more.route),
            ("@FILTER@", &more.filter),
        ] {
            text = text.replace(hole, value);
        }
        let configuration = folder.path().join("envoy.yaml");
        std::fs::write(&configuration, text).expect("cannot write Envoy's configuration");
        let admin_file = folder.path().join("admin");
        let mut command = Command::new(options.version.binary());
        command
            .arg("--config-path")
            .arg(&configuration)
            .args(["--log-level", "warn"]);
        command.args([
            "--concurrency",
            &options.concurrency.to_string(),
            "--use-dynamic-base-id",
        ]);
        command.arg("--admin-address-path").arg(&admin_file);
        let mut process = Process::start(format!("Envoy {}", options.version.0), &mut command);

        let mut found = None;
        crate::eventually(Duration::from_secs(60), || {
            found = std::fs::read_to_string(&admin_file)
                .ok()
                .filter(|text| !text.is_empty())
                .and_then(|admin| {
                    let listeners = http_get(&admin, "/listeners?format=json")?;
                    let listeners: Value = serde_json::from_str(&listeners).ok()?;
                    let socket =
                        &listeners["listener_statuses"][0]["local_address"]["socket_address"];
                    let live = http_get(&admin, "/ready")?.contains("LIVE");
                    let port = socket["port_value"].as_u64()?;
                    live.then(|| (format!("{}:{port}", More::or_usual(more.host)), admin))
                });
            found.is_some() || !process.is_running()
        });
        let Some((address, admin)) = found else {
            panic!("Envoy did not come up{}", process.complaint());
        };
        Envoy {
            process,
            address,
            admin,
            folder,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// One of its counters.
    ///
    /// # Panics
    /// When it has no such counter.
    #[track_caller]
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let stats = http_get(&self.admin, &format!("/stats?filter=^{name}$")).unwrap_or_default();
        let value = stats.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(": ")?
                .trim()
                .parse()
                .ok()
        });
        value.unwrap_or_else(|| panic!("Envoy has no counter {name}"))
    }

    /// Its access log: `<x-call-id> <status> <flags> <details> grpc=<status>` a call.
    /// Envoy writes it every second or so; this waits for `n` lines.
    #[must_use]
    pub fn access_log(&self, n: usize) -> Vec<String> {
        let path = self.folder.path().join("access.log");
        let mut lines = Vec::new();
        crate::eventually(Duration::from_secs(15), || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            lines = text.lines().map(str::to_owned).collect();
            lines.len() >= n
        });
        lines
    }
}
