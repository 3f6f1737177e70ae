//! A pod by name, on whichever node it is, and what somebody else was told of the pods of this one.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use super::access::{Access, unreachable};
use super::asking::node_name;
use super::convert::{List, PodObject};
use super::state::Trouble;
use super::watch::{escaped, part};
use super::{PodSource, Settings};
use crate::workload::pod::Pod;

/// How long somebody waits for the answer.
const ANSWER: Duration = Duration::from_secs(5);

impl PodSource {
    /// The pod of this name, on whichever node it is: asks the API server once, and waits for its answer. None
    /// when there is none, or nobody to ask.
    ///
    /// # Errors
    /// It does not answer, or not so.
    pub fn find(&self, namespace: &str, name: &str) -> Result<Option<Pod>, Trouble> {
        let Some(access) = &self.access else {
            return Ok(None);
        };
        let path = format!(
            "/api/v1/namespaces/{}/pods?fieldSelector=metadata.name%3D{}",
            escaped(namespace),
            escaped(name)
        );
        let list = ask(access, &path)?;
        Ok(list.items.into_iter().next().map(PodObject::pod))
    }

    /// Takes what somebody else was told of this node's pods: a pod or a list of them, in JSON as kubectl prints
    /// it. What the API server tells this program itself counts for more.
    ///
    /// # Errors
    /// It is neither.
    pub fn told(&self, json: &str) -> anyhow::Result<()> {
        let pods =
            pods(json).context("these are no pods as kubectl get --output json prints them")?;
        if !self.pods.is_complete() {
            self.pods.replace(pods);
            self.waiting.name(&self.pods);
        }
        Ok(())
    }
}

/// Asks the API server once for a pod of this node, as the service account of this pod: what forbids or prevents that.
/// None outside of a pod.
#[must_use]
pub fn ask_once(settings: &Settings) -> Option<Result<(), Trouble>> {
    std::env::var_os("KUBERNETES_SERVICE_HOST")?;
    let path = format!(
        "/api/v1/pods?limit=1&fieldSelector=spec.nodeName%3D{}",
        escaped(&node_name(settings))
    );
    Some(ask(&Access::ServiceAccount, &path).map(drop))
}

/// One question, and its answer.
fn ask(access: &Access, path: &str) -> Result<List, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| unreachable(&error.to_string()))?;
    let ask = async { part(&access.client().await?, path).await };
    // The clock of the time limit is that of the runtime.
    let answer = runtime.block_on(async { timeout(ANSWER, ask).await });
    answer.map_err(|_| unreachable("no answer in time"))?
}

fn pods(json: &str) -> anyhow::Result<Vec<Pod>> {
    let value: serde_json::Value = serde_json::from_str(json)?;
    if value.get("items").is_some() {
        let list: List = serde_json::from_value(value)?;
        return Ok(list.items.into_iter().map(PodObject::pod).collect());
    }
    let one: PodObject = serde_json::from_value(value)?;
    if one.uid().is_empty() {
        bail!("no pod has no uid");
    }
    Ok(vec![one.pod()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        r#"{"kind":"Pod","metadata":{"name":"cart-1","namespace":"shop","uid":"u1"}}"#;

    #[test]
    fn pod_and_list_of_pods_are_taken_until_the_api_server_has_told() {
        let list =
            format!(r#"{{"kind":"List","items":[{POD}],"metadata":{{"resourceVersion":""}}}}"#);
        for json in [POD, &list] {
            let source = PodSource::of_test();
            source.told(json).unwrap();
            assert_eq!(source.pods.by_uid("u1").unwrap().name, "cart-1");
            assert!(source.pods.is_complete());
        }
        let source = PodSource::of_test();
        source.pods.replace([]);
        source.told(POD).unwrap();
        assert!(source.pods.is_empty());
        for wrong in ["", "[]", "{\"items\":3}"] {
            assert!(source.told(wrong).is_err(), "{wrong}");
        }
        assert_eq!(source.find("shop", "cart-1"), Ok(None));
    }
}
