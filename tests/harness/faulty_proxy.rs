//! The proxy with defects to choose from (tests/peers/faulty-proxy).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::peer::installed;
use crate::process::Process;
use crate::skip::Need;

/// Its program, for `require!`.
pub struct FaultyProxy;

impl FaultyProxy {
    fn file() -> PathBuf {
        installed("faulty-proxy").join("faulty-proxy")
    }
}

impl Need for FaultyProxy {
    fn missing(&self) -> Option<String> {
        (!Self::file().is_file()).then(|| {
            "the faulty proxy is not installed: cargo xtask setup --only faulty-proxy".to_owned()
        })
    }
}

pub struct Running {
    pub process: Process,
    pub address: String,
}

impl Running {
    /// Starts it in front of the server at `upstream`. `arguments`: its defect, and a server that it asks first.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    #[must_use]
    pub fn start(upstream: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(FaultyProxy::file());
        command.args(["--upstream", upstream]).args(arguments);
        let process = Process::start("the faulty proxy", &mut command);
        let address = process.wait_for_line(0, Duration::from_secs(20), |line| {
            line.strip_prefix("ready ").map(|a| a.trim().to_owned())
        });
        Running { process, address }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ids of the calls that it says it broke.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<String> {
        let lines = self.process.lines();
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter_map(|line| Some(line.get("broken")?.as_str()?.to_owned()))
            .collect()
    }
}
