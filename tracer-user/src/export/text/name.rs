//! What ends of connections are called: their process and, where there is one, their pod.

use h2trace_core::attribution::WorkloadHandle;
use h2trace_core::event::Address;
use h2trace_core::pipeline::{ConnectionInfo, Tunnel};

use crate::plain::plain;

pub(super) fn process(comm: &str, pid: u32) -> String {
    if pid == 0 && comm.is_empty() {
        // A file tells no process.
        return "client end".to_owned();
    }
    format!("{}[{pid}]", plain(comm))
}

/// `comm[pid]` in `width` columns: the name gives way, the id never.
pub(super) fn fitted_process(comm: &str, pid: u32, width: usize) -> String {
    if pid == 0 && comm.is_empty() {
        return "-".to_owned();
    }
    let id = format!("[{pid}]");
    let name: String = plain(comm)
        .chars()
        .take(width.saturating_sub(id.len()))
        .collect();
    format!("{name}{id}")
}

/// `comm[pid]`, or `comm[pid] in shop/cart-7d9f (container app)`; `pid` is the process that was seen last.
pub(super) fn end(info: &ConnectionInfo, pid: u32) -> String {
    let process = process(&info.comm, pid);
    let Some(pod) = pod(&info.workload) else {
        return process;
    };
    let workload = info.workload.workload();
    match workload.filter(|workload| !workload.container.is_empty()) {
        Some(workload) => format!(
            "{process} in {pod} (container {})",
            plain(&workload.container)
        ),
        None => format!("{process} in {pod}"),
    }
}

/// An address. A Unix socket's is a path, or a name of any bytes.
pub(super) fn address(address: &Address) -> String {
    plain(&address.to_string()).into_owned()
}

/// The address of the other end, with its pod where it names one: `10.0.0.7:8080 (shop/cart-7d9f)`.
pub(super) fn peer(info: &ConnectionInfo) -> String {
    match pod(&info.peer_workload) {
        Some(pod) => format!("{} ({pod})", address(&info.peer)),
        None => address(&info.peer),
    }
}

/// `, in the tunnel to 10.0.0.7:80 of connection 2 stream 1`.
pub(super) fn tunnel(tunnel: &Tunnel) -> String {
    let to = tunnel.to.as_deref();
    let to = to.map_or_else(String::new, |to| format!(" to {}", plain(to)));
    let (connection, stream) = (tunnel.connection, tunnel.stream_id);
    format!(", in the tunnel{to} of connection {connection} stream {stream}")
}

/// `shop/cart-7d9f`; while the names are not known, the pod's uid. None where there is no pod.
pub(super) fn pod(handle: &WorkloadHandle) -> Option<String> {
    if let Some(workload) = handle.workload() {
        return Some(format!(
            "{}/{}",
            plain(&workload.namespace),
            plain(&workload.pod)
        ));
    }
    match handle.pod_uid() {
        "" => None,
        uid => Some(format!("pod {}", plain(uid))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use h2trace_core::attribution::Workload;

    use super::*;
    use crate::export::sample;

    #[test]
    fn ends_in_pods_are_called_by_pod_and_container() {
        let mut info = sample::connection();
        assert_eq!(end(&info, info.pid), "node[4242]");
        assert_eq!(peer(&info), "127.0.0.1:8080");
        info.workload = WorkloadHandle::to_pod("uid-1", "c1");
        assert_eq!(end(&info, info.pid), "node[4242] in pod uid-1");
        let workload = |container: &str| {
            Arc::new(Workload {
                namespace: "shop".into(),
                pod: "cart-7d9f".into(),
                container: container.into(),
                ..Workload::default()
            })
        };
        info.workload.name(workload(""));
        assert_eq!(end(&info, 7), "node[7] in shop/cart-7d9f");
        info.workload.name(workload("app"));
        assert_eq!(end(&info, 7), "node[7] in shop/cart-7d9f (container app)");
        info.peer_workload = WorkloadHandle::to_address();
        assert_eq!(peer(&info), "127.0.0.1:8080");
        info.peer_workload.name(workload(""));
        assert_eq!(peer(&info), "127.0.0.1:8080 (shop/cart-7d9f)");
    }
}
