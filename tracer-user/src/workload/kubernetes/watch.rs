//! The watch of this node's pods: a list, then what changes since, for ever. What it learns goes into the
//! directory; how it stands into the state.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::Duration;

use bytes::Buf as _;
use futures_util::TryStreamExt as _;
use h2trace_core::limits;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use kube::core::WatchEvent;
use tokio::time::timeout;

use super::access::{Access, answered, trouble, unreachable};
use super::asking::TaskContext;
use super::convert::{List, PodObject};
use super::state::{Reason, Trouble};

/// How long one watch lasts. Also how long it takes at most until a connection that died without a word is
/// noticed.
const WATCH: Duration = Duration::from_secs(45);

/// How much later than asked for the API server may end a watch.
const WATCH_GRACE: Duration = Duration::from_secs(10);

/// How long an answer may take to come.
const ANSWER: Duration = Duration::from_secs(15);

/// The first pause after a failure; it doubles with each. A part of it is drawn by lot, so that the tracers of
/// all nodes do not come back at once.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Pods of one part of a list.
const PART: u32 = 250;

/// Watches for ever.
pub(super) async fn run(access: &Access, node: &str, shared: &TaskContext) {
    shared.state.api_asked();
    let mut pause = PAUSE_MIN;
    // Where a watch goes on after one that lasted its time; None: with a list.
    let mut version = None;
    loop {
        match follow(access, node, shared, &mut version).await {
            Ok(()) => pause = PAUSE_MIN,
            Err(why) if why.reason == Reason::Expired => {
                version = None;
                shared.state.api_expired();
                tracing::debug!(%why, "listing the pods anew");
                tokio::time::sleep(with_jitter(PAUSE_MIN)).await;
            }
            Err(why) => {
                if shared.state.api().connected() {
                    pause = PAUSE_MIN;
                }
                // Pods that went meanwhile may have been forgotten: what is there is listed anew.
                version = None;
                let said = why.to_string();
                if shared.state.api_fails(why) {
                    tracing::warn!(
                        "pods are named from what is known by now, and by the container runtime if that can be asked: {said}"
                    );
                }
                tokio::time::sleep(with_jitter(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// A list if there is none yet, and one watch after the other, until something fails. Credentials are read anew.
async fn follow(
    access: &Access,
    node: &str,
    shared: &TaskContext,
    version: &mut Option<String>,
) -> Result<(), Trouble> {
    let client = access.client().await?;
    loop {
        let from = match version.take() {
            Some(from) => from,
            None => list(&client, node, shared).await?,
        };
        let from = version.insert(from);
        watch(&client, node, shared, from).await?;
    }
}

/// All pods of the node: as the API server has them cached, which costs it next to nothing. Returns their
/// version.
async fn list(client: &Client, node: &str, shared: &TaskContext) -> Result<String, Trouble> {
    let mut pods = Vec::new();
    let mut more = String::new();
    loop {
        let mut path = format!("/api/v1/pods?{}&limit={PART}", selector(node));
        if more.is_empty() {
            path.push_str("&resourceVersion=0&resourceVersionMatch=NotOlderThan");
        } else {
            path.push_str("&continue=");
            path.push_str(&escaped(&more));
        }
        let part = timeout(ANSWER, part(client, &path))
            .await
            .map_err(|_| unreachable("no answer in time"))??;
        let room = (limits::PODS + 1).saturating_sub(pods.len());
        pods.extend(part.items.into_iter().take(room).map(PodObject::pod));
        more = part.metadata.more;
        if more.is_empty() || room == 0 {
            if pods.is_empty() {
                // A tracer that runs in a pod is in the list itself.
                tracing::warn!(
                    "the API server knows no pod of node {node} (if this node has another name, give --node-name NAME)"
                );
            }
            shared.pods.replace(pods);
            answers(shared);
            shared.waiting.name(&shared.pods);
            return Ok(part.metadata.resource_version);
        }
    }
}

pub(super) async fn part(client: &Client, path: &str) -> Result<List, Trouble> {
    let response = client
        .send(request(path)?)
        .await
        .map_err(|error| trouble(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), limits::API_LIST_BYTES)
        .collect()
        .await
        .map_err(|error| unreachable(&error.to_string()))?;
    // Read where it lies: in one piece it would be there twice.
    let body = body.aggregate().reader();
    if status != StatusCode::OK {
        let told: kube::core::Status = serde_json::from_reader(body).unwrap_or_default();
        return Err(answered(status.as_u16(), &told.message));
    }
    serde_json::from_reader(body).map_err(|error| Trouble {
        reason: Reason::Other,
        said: format!("the API server's list of pods cannot be read: {error}"),
    })
}

/// What changes after `version`, which moves on with it.
async fn watch(
    client: &Client,
    node: &str,
    shared: &TaskContext,
    version: &mut String,
) -> Result<(), Trouble> {
    let path = format!(
        "/api/v1/pods?{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
        selector(node),
        WATCH.as_secs(),
        escaped(version),
    );
    let request = request(&path)?.map(|_| Vec::new());
    let events = timeout(ANSWER, client.request_events::<PodObject>(request))
        .await
        .map_err(|_| unreachable("no answer in time"))?
        .map_err(|error| trouble(&error))?;
    answers(shared);
    let mut events = pin!(events);
    loop {
        let event = timeout(WATCH + WATCH_GRACE, events.try_next())
            .await
            .map_err(|_| unreachable("nothing came any more"))?
            .map_err(|error| trouble(&error))?;
        match event {
            // It lasted as long as it was asked to, or the API server goes down in order.
            None => return Ok(()),
            Some(WatchEvent::Added(told) | WatchEvent::Modified(told)) => {
                version.clone_from(&told.metadata.resource_version);
                shared.pods.put(told.pod());
            }
            Some(WatchEvent::Deleted(told)) => {
                version.clone_from(&told.metadata.resource_version);
                // Its last word: a container that came and went may be told here first.
                let uid = told.uid().to_owned();
                shared.pods.put(told.pod());
                shared.pods.remove(&uid);
            }
            Some(WatchEvent::Bookmark(bookmark)) => {
                *version = bookmark.metadata.resource_version;
                continue;
            }
            Some(WatchEvent::Error(status)) => return Err(answered(status.code, &status.message)),
        }
        shared.waiting.name(&shared.pods);
    }
}

fn answers(shared: &TaskContext) {
    let lost = matches!(shared.state.api(), super::state::Reach::Lost { .. });
    if shared.state.api_answers() {
        if lost {
            // Who was told that it was gone is told this too.
            tracing::warn!("the API server names pods again");
        } else {
            tracing::debug!(n_pods = shared.pods.len(), "the API server names pods");
        }
    }
}

fn selector(node: &str) -> String {
    // Pods that have ended stay at the API server by the thousand, and anybody may have as many as he likes.
    format!(
        "fieldSelector=spec.nodeName%3D{},status.phase%21%3DSucceeded,status.phase%21%3DFailed",
        escaped(node)
    )
}

fn request(path: &str) -> Result<Request<Body>, Trouble> {
    Request::get(path)
        .body(Body::empty())
        .map_err(|error| Trouble {
            reason: Reason::Other,
            said: format!("no request can be made of it: {error}"),
        })
}

/// As RFC 3986 has it in a query.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A random pause between half of it and all of it.
fn with_jitter(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1_000;
    let random = u32::try_from(random).unwrap_or(0);
    pause / 2 + pause / 2 * random / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_query_is_escaped() {
        assert_eq!(escaped("node-1.example"), "node-1.example");
        assert_eq!(escaped("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }

    #[test]
    fn pods_that_have_ended_are_not_asked_for() {
        let asked = selector("node 1").replace("%3D", "=").replace("%21", "!");
        let only = "spec.nodeName=node%201,status.phase!=Succeeded,status.phase!=Failed";
        assert_eq!(asked.strip_prefix("fieldSelector="), Some(only));
    }

    #[test]
    fn pauses_are_drawn_between_half_and_all() {
        for _ in 0..100 {
            let pause = with_jitter(PAUSE_MAX);
            assert!(pause >= PAUSE_MAX / 2 && pause <= PAUSE_MAX, "{pause:?}");
        }
    }
}
