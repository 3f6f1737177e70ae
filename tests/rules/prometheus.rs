//! A Prometheus of our own, on loopback.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tracer_tests::process::Process;
use tracer_tests::program::http_get;
use tracer_tests::{eventually, free_port};

pub(crate) struct Prometheus {
    process: Process,
    /// Of its API and its pages.
    pub(crate) address: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it: it scrapes `target` every second, and evaluates the rules as often.
    #[track_caller]
    pub(crate) fn start(target: &str) -> Self {
        let folder = TempDir::new().expect("cannot make a folder for Prometheus");
        let config = folder.path().join("prometheus.yaml");
        let rules = crate::rules();
        let text = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
             rule_files:\n  - {}\n\
             scrape_configs:\n  - job_name: h2trace\n    honor_labels: true\n    static_configs:\n      \
             - targets: [\"{target}\"]\n        labels: {{node: here}}\n",
            rules.display()
        );
        std::fs::write(&config, text).expect("cannot write Prometheus' configuration");
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ));
        command.arg(format!("--web.listen-address={address}"));
        let process = Process::start("Prometheus", &mut command);
        let is_up = || http_get(&address, "/-/ready").is_some();
        assert!(
            eventually(Duration::from_secs(60), is_up),
            "Prometheus did not come up{}",
            process.complaint()
        );
        Prometheus {
            process,
            address,
            _folder: folder,
        }
    }

    /// The `data` of an answer.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = http_get(&self.address, path)
            .unwrap_or_else(|| panic!("Prometheus refuses {path}{}", self.process.complaint()));
        let mut answer: Value = serde_json::from_str(&answer).expect("Prometheus answers JSON");
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].take()
    }

    /// What a query gives now.
    #[track_caller]
    pub(crate) fn query(&self, query: &str) -> Vec<Value> {
        let data = self.get(&format!("/api/v1/query?query={}", encoded(query)));
        let result = data["result"].as_array();
        result.unwrap_or_else(|| panic!("{query}: {data}")).clone()
    }
}

/// As a part of a URL.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}
