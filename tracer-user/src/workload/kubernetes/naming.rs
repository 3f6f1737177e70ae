//! What the container runtime is asked, and when: for containers that the API server has not told of, and for all
//! pods while it does not answer.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::super::cri::RuntimeClient;
use super::super::pods::Pods;
use super::asking::TaskContext;
use super::state::Trouble;

/// How long a container may wait for the API server before the runtime is asked for it.
const PATIENCE: Duration = Duration::from_millis(300);

/// How often the runtime is asked while something waits.
const EVERY: Duration = Duration::from_secs(1);

/// How often while nothing does, and the API server does not answer.
const IDLE_EVERY: Duration = Duration::from_secs(5);

/// A container that has waited for so long is none that the runtime knows: it is asked for it seldom.
const HOPELESS: Duration = Duration::from_secs(30);

/// How often for such ones.
const HOPELESS_EVERY: Duration = Duration::from_secs(30);

/// How long addresses are believed when nobody tells of changes.
const STALE: Duration = Duration::from_secs(10);

/// Asks for ever. `api`: the API server is asked too. `must`: there must be a runtime.
pub(super) async fn run(mut runtime: RuntimeClient, api: bool, must: bool, shared: &TaskContext) {
    let mut told_at = Instant::now();
    loop {
        let connected = shared.state.api().connected();
        let wanted = match (connected, api) {
            (true, _) => shared.waiting.youngest().is_some(),
            (false, _) => true,
        };
        let mut asked = false;
        let socket = runtime.socket();
        if must && socket.is_none() {
            fails(shared, RuntimeClient::missing());
        }
        if wanted && let Some(socket) = socket {
            shared.state.cri_asked();
            shared.state.count_cri_call();
            match runtime.pods(&socket, !connected).await {
                Ok(told) => {
                    take(told, connected, api, shared);
                    asked = true;
                    if shared.state.cri_answers() {
                        tracing::debug!(socket = %socket.display(), "the container runtime names pods");
                    }
                }
                Err(why) => fails(shared, why),
            }
        }
        if asked || shared.state.api().connected() {
            told_at = Instant::now();
        }
        shared.pods.set_stale(told_at.elapsed() > STALE);
        let pause = pause(api, shared);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.waiting.more.notified() => {
                // The API server mostly tells it by itself; and many come at once.
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

/// Asks nobody: what was told at the beginning is what there is, and is soon old.
pub(super) async fn nobody(shared: &TaskContext) {
    tokio::time::sleep(STALE).await;
    shared.pods.set_stale(true);
    std::future::pending::<()>().await;
}

fn fails(shared: &TaskContext, why: Trouble) {
    let said = why.to_string();
    if shared.state.cri_fails(why) {
        tracing::warn!("{said}");
    }
}

fn pause(api: bool, shared: &TaskContext) -> Duration {
    match shared.waiting.youngest() {
        Some(age) if age < HOPELESS => EVERY,
        _ if !api => EVERY,
        Some(_) if shared.state.api().connected() => HOPELESS_EVERY,
        _ => IDLE_EVERY,
    }
}

fn take(told: Vec<super::super::pod::Pod>, connected: bool, api: bool, shared: &TaskContext) {
    if !api {
        shared.pods.replace(told);
        shared.waiting.name(&shared.pods);
        return;
    }
    if connected {
        // What the API server knows is the truth, but for ids of containers that it has not told yet.
        for pod in told.iter().filter(|pod| shared.pods.lives(&pod.uid)) {
            shared.pods.learn(pod.clone());
        }
        shared.waiting.name(&shared.pods);
        let of_runtime = Pods::default();
        of_runtime.replace(told);
        shared.waiting.name_by_runtime(&of_runtime);
        return;
    }
    let uids: HashSet<&str> = told.iter().map(|pod| pod.uid.as_str()).collect();
    for pod in shared.pods.all() {
        if !uids.contains(pod.uid.as_str()) {
            shared.pods.remove(&pod.uid);
        }
    }
    for pod in told.clone() {
        shared.pods.learn(pod);
    }
    shared.pods.complete();
    shared.waiting.name(&shared.pods);
}
