//! Two servers and two clients: one pair is traced, the other talks much more.

use serde_json::Value;

use crate::setting::Setting;
use crate::workload::{Deployment, Pod};

/// The namespace of the pairs on which the plug-in is tried.
pub(crate) const TRAFFIC: &str = "filtered";

/// What the loud client says.
const LOUD: [&str; 7] = [
    "--busy",
    "--concurrency",
    "4",
    "--think-ms",
    "5",
    "--response-bytes",
    "50000",
];

pub(crate) struct Pairs {
    pub(crate) server: Pod,
    pub(crate) client: Pod,
    /// The server and the client that are not wanted.
    pub(crate) others: [Pod; 2],
}

impl Pairs {
    pub(crate) fn start(setting: &Setting, namespace: &str) -> Self {
        setting.namespace(namespace);
        let server = setting.deploy(&Deployment::server(namespace, "wanted"));
        let client = Deployment::busy_client(namespace, "caller", &server.target());
        let client = setting.deploy(&client);
        let other = setting.deploy(&Deployment::server(namespace, "unwanted"));
        let loud = Deployment::client(namespace, "loud", &other.target(), &LOUD);
        let loud = setting.deploy(&loud);
        Pairs {
            server,
            client,
            others: [other, loud],
        }
    }
}

/// Nothing is told of these pods.
#[track_caller]
pub(crate) fn silent_about(lines: &[Value], others: &[&Pod]) {
    for line in lines {
        let whole = line.to_string();
        for other in others {
            let address = format!("{}:", other.address);
            assert!(
                !whole.contains(&other.name) && !whole.contains(&address),
                "{} is told of: {whole}",
                other.name
            );
        }
    }
}
