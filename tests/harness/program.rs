//! Programs that are no gRPC test peers of ours: how to ask them what they did.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::Process;
use crate::{eventually, free_port};

/// GET over HTTP/1.1, for admin and metrics pages; None when it cannot be had.
#[must_use]
pub fn http_get(address: &str, path: &str) -> Option<String> {
    let socket = TcpStream::connect(address.trim()).ok()?;
    http_get_over(socket, address, path)
}

/// As [`http_get`], over a connection that is there.
#[must_use]
pub fn http_get_over(mut socket: TcpStream, address: &str, path: &str) -> Option<String> {
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.lines().next()?.contains(" 200 ") {
        return None;
    }
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunked(body)
    } else {
        Some(body.to_owned())
    }
}

/// The content of a chunked body (RFC 9112 section 7.1); None when it is not whole.
fn unchunked(mut body: &str) -> Option<String> {
    let mut content = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.push_str(rest.get(..size)?);
        body = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

/// How many calls of each method (`/service/method`) a server says that it began:
/// `grpc_server_started_total` on its metrics page.
#[must_use]
pub fn started_calls(metrics: &str) -> BTreeMap<String, u64> {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let mut calls = BTreeMap::new();
    for line in metrics
        .lines()
        .filter(|line| line.starts_with("grpc_server_started_total{"))
    {
        let count = line
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse::<f64>().ok())
            .unwrap_or_default();
        if let (Some(service), Some(method)) =
            (label(line, "grpc_service"), label(line, "grpc_method"))
            && count > 0.0
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small counter"
            )]
            calls.insert(format!("/{service}/{method}"), count as u64);
        }
    }
    calls
}

/// A running etcd of one member.
pub struct Etcd {
    pub process: Process,
    /// Where clients dial.
    pub clients: String,
    pub port: u16,
    /// Where its metrics are.
    pub metrics: String,
}

impl Etcd {
    /// Starts one, with its data below `folder`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(folder: &Path) -> Etcd {
        let port = free_port();
        let [clients, peers, metrics] =
            [port, free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.join("etcd"));
        for (option, url) in [
            ("--listen-client-urls", format!("http://{clients}")),
            ("--advertise-client-urls", format!("http://{clients}")),
            ("--listen-peer-urls", format!("http://{peers}")),
            ("--initial-advertise-peer-urls", format!("http://{peers}")),
            ("--initial-cluster", format!("default=http://{peers}")),
            ("--listen-metrics-urls", format!("http://{metrics}")),
        ] {
            command.args([option, &url]);
        }
        let process = Process::start("etcd", &mut command);
        let healthy = || http_get(&metrics, "/health").is_some_and(|text| text.contains("true"));
        assert!(
            eventually(Duration::from_secs(30), healthy),
            "etcd did not come up{}",
            process.complaint()
        );
        Etcd {
            process,
            clients,
            port,
            metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together_and_half_a_body_is_none() {
        assert_eq!(
            unchunked("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n").as_deref(),
            Some("abc0123456789")
        );
        assert_eq!(unchunked("3\r\nabc\r\nA\r\n01234"), None);
    }

    #[test]
    fn only_methods_that_were_called_are_counted() {
        let page = "# HELP grpc_server_started_total Total\n\
            grpc_server_started_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 3\n\
            grpc_server_started_total{grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 0\n\
            grpc_server_handled_total{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\"} 2\n";
        let want = BTreeMap::from([("/etcdserverpb.KV/Put".to_owned(), 3)]);
        assert_eq!(started_calls(page), want);
    }
}
