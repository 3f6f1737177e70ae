//! `/metrics`, `/healthz` and `/readyz` for Prometheus and for the kubelet.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2trace_core::limits;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::clock::WallTime;
use super::prometheus::Scrape;
use crate::workload::kubernetes::state::{PodNameSource, Reach, State};

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may live, idle or not: a scraper comes back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// The drain loop is late beyond this: not ready.
const READY_AGE: Duration = Duration::from_secs(5);

/// The drain loop hangs beyond this: not healthy, restart it.
const HEALTHY_AGE: Duration = Duration::from_secs(30);

/// Sign of life of the drain loop, shared with the thread it runs on.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    attached: AtomicBool,
    beat_ms: AtomicU64,
    waiting: Mutex<Option<String>>,
    /// How it stands with who names the pods. It never makes the tracer unready: tracing goes on without.
    pods: OnceLock<Arc<State>>,
}

impl Heartbeat {
    /// Beats now; nothing is attached yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            attached: AtomicBool::new(false),
            beat_ms: AtomicU64::new(0),
            waiting: Mutex::new(None),
            pods: OnceLock::new(),
        }
    }

    /// Says from now on who names the pods.
    pub fn show_pods(&self, state: Arc<State>) {
        // Whoever said it first is right.
        drop(self.pods.set(state));
    }

    /// The drain loop is alive.
    pub fn beat(&self) {
        let age = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(age, Ordering::Relaxed);
    }

    /// All kernel programs are attached, or no longer.
    pub fn set_attached(&self, attached: bool) {
        self.attached.store(attached, Ordering::Relaxed);
    }

    /// What has to come before it does what it shall, and why it has not.
    pub fn set_waiting(&self, why: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Something has to come first.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Time since the last beat.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started
            .elapsed()
            .saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }

    /// Why it is not ready; None when it is.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        if !self.attached.load(Ordering::Relaxed) {
            return Some("the kernel programs are not attached\n".to_owned());
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.late(READY_AGE)
            .or_else(|| waiting.as_ref().map(|why| format!("{why}\n")))
    }

    /// Why it is not healthy; None when it is.
    #[must_use]
    pub fn unhealthy(&self) -> Option<String> {
        self.late(HEALTHY_AGE)
    }

    /// What is said when all is well: who names the pods, and since when not.
    #[must_use]
    pub fn remark(&self) -> String {
        let Some(state) = self.pods.get() else {
            return "ok\n".to_owned();
        };
        let who = match (state.api(), state.active_source()) {
            (_, PodNameSource::Api) => "the API server".to_owned(),
            (Reach::Lost { since, why }, PodNameSource::Cri) => {
                format!(
                    "the container runtime since {}: {why}",
                    WallTime::from(since)
                )
            }
            (_, PodNameSource::Cri) => "the container runtime".to_owned(),
            (Reach::Lost { since, why }, PodNameSource::None) => {
                return format!(
                    "ready; pods are named from cache since {}: {why}\n",
                    WallTime::from(since)
                );
            }
            (_, PodNameSource::None) => return self.remark_of_runtime(&state.cri()),
        };
        format!("ready; pods are named by {who}\n")
    }

    fn remark_of_runtime(&self, cri: &Reach) -> String {
        match cri {
            Reach::Lost { since, why } => {
                format!(
                    "ready; pods are named from cache since {}: {why}\n",
                    WallTime::from(*since)
                )
            }
            _ => "ready; pods have no names yet\n".to_owned(),
        }
    }

    fn late(&self, bound: Duration) -> Option<String> {
        let age = self.age();
        (age > bound).then(|| {
            format!(
                "the kernel programs' records were last read {:.1} s ago\n",
                age.as_secs_f64()
            )
        })
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the port, so that a port in use is known before anything is attached.
///
/// # Errors
/// The address is in use, not of this host, or needs a privilege.
pub fn bind(address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| {
        let cause = match error.kind() {
            std::io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "the address is not of this host".to_owned(),
            std::io::ErrorKind::PermissionDenied => "not permitted for this port".to_owned(),
            _ => error.to_string(),
        };
        anyhow::anyhow!(
            "cannot listen on {address}: {cause} (choose another with --listen ADDRESS:PORT)"
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the future is dropped. At most [`limits::HTTP_CONNECTIONS`] connections at once; others wait
/// in the kernel's backlog.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    scrape: Scrape,
    heartbeat: Arc<Heartbeat>,
) -> anyhow::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, or a connection that went away: the listener itself lives on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (scrape, heartbeat) = (scrape.clone(), Arc::clone(&heartbeat));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &scrape, &heartbeat);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "connection of a scraper ended"),
                Err(_) => tracing::debug!("connection of a scraper was closed after its time"),
            }
            drop(place);
        });
    }
}

/// The answer to a request; its body is not read.
fn answer<B>(
    request: &Request<B>,
    scrape: &Scrape,
    heartbeat: &Heartbeat,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
        return text(
            StatusCode::NOT_FOUND,
            "not found: /metrics, /healthz and /readyz are served here\n".into(),
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".into());
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => match scrape.page(heartbeat.age()) {
            Ok(None) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many scrapes at once\n".into(),
            ),
            Ok(Some(body)) => {
                let mut response = Response::new(Full::new(body));
                if let Ok(content_type) = HeaderValue::from_str(&scrape.content_type()) {
                    response.headers_mut().insert(CONTENT_TYPE, content_type);
                }
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
        },
        "/healthz" => state(heartbeat, heartbeat.unhealthy()),
        _ => state(heartbeat, heartbeat.unready()),
    }
}

fn state(heartbeat: &Heartbeat, trouble: Option<String>) -> Response<Full<Bytes>> {
    match trouble {
        None => text(StatusCode::OK, heartbeat.remark()),
        Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, trouble),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::export::prometheus::Exporter;
    use crate::workload::kubernetes::state::{Reason, Trouble};

    fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: h2trace\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn with_server(test: impl FnOnce(SocketAddr, &Heartbeat) + Send + 'static) {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let heartbeat = Arc::new(Heartbeat::new());
        let scrape = Exporter::new().unwrap().scrape();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = tokio::spawn(serve(listener, scrape, Arc::clone(&heartbeat)));
            tokio::task::spawn_blocking(move || test(address, &heartbeat))
                .await
                .unwrap();
            server.abort();
        });
    }

    #[test]
    fn metrics_are_served_and_other_paths_and_methods_are_refused() {
        with_server(|address, _| {
            let metrics = ask(address, "GET /metrics");
            assert!(metrics.starts_with("HTTP/1.1 200 OK"), "{metrics}");
            assert!(
                metrics.contains("content-type: text/plain; version=0.0.4"),
                "{metrics}"
            );
            assert!(
                metrics.contains("\nh2trace_self_events_lost_total{cause=\"ring_full\"} 0\n"),
                "{metrics}"
            );
            let head = ask(address, "HEAD /metrics");
            assert!(
                head.starts_with("HTTP/1.1 200 OK") && !head.contains("h2trace_"),
                "{head}"
            );
            assert!(ask(address, "GET /").starts_with("HTTP/1.1 404"));
            let posted = ask(address, "POST /metrics");
            assert!(
                posted.starts_with("HTTP/1.1 405") && posted.contains("allow: GET, HEAD"),
                "{posted}"
            );
        });
    }

    #[test]
    fn ready_only_while_programs_are_attached() {
        with_server(|address, heartbeat| {
            assert!(ask(address, "GET /healthz").starts_with("HTTP/1.1 200"));
            assert!(ask(address, "GET /readyz").starts_with("HTTP/1.1 503"));
            heartbeat.set_attached(true);
            heartbeat.beat();
            assert!(ask(address, "GET /readyz").starts_with("HTTP/1.1 200"));
        });
    }

    #[test]
    fn ready_without_who_names_pods_and_says_so() {
        let heartbeat = Heartbeat::new();
        heartbeat.set_attached(true);
        assert_eq!(heartbeat.remark(), "ok\n");
        let state = Arc::new(State::default());
        heartbeat.show_pods(Arc::clone(&state));
        assert_eq!(heartbeat.remark(), "ready; pods have no names yet\n");
        state.api_answers();
        assert_eq!(
            heartbeat.remark(),
            "ready; pods are named by the API server\n"
        );
        state.api_fails(Trouble {
            reason: Reason::Unreachable,
            said: "the API server cannot be reached: refused".into(),
        });
        let remark = heartbeat.remark();
        assert!(
            remark.starts_with("ready; pods are named from cache since 20"),
            "{remark}"
        );
        assert!(
            remark.ends_with("Z: the API server cannot be reached: refused\n"),
            "{remark}"
        );
        state.cri_answers();
        let remark = heartbeat.remark();
        assert!(
            remark.starts_with("ready; pods are named by the container runtime since 20"),
            "{remark}"
        );
        assert_eq!((heartbeat.unready(), heartbeat.unhealthy()), (None, None));
    }

    #[test]
    fn late_drain_loop_is_not_healthy() {
        let Some(started) = Instant::now().checked_sub(HEALTHY_AGE * 2) else {
            return;
        };
        let heartbeat = Heartbeat {
            started,
            attached: AtomicBool::new(true),
            beat_ms: AtomicU64::new(0),
            waiting: Mutex::new(None),
            pods: OnceLock::new(),
        };
        assert!(
            heartbeat
                .unhealthy()
                .is_some_and(|why| why.contains("last read 60."))
        );
        heartbeat.beat();
        assert_eq!((heartbeat.unhealthy(), heartbeat.unready()), (None, None));
    }

    #[test]
    fn port_in_use_is_said_with_the_remedy() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains("the port is in use") && error.contains("--listen"),
            "{error}"
        );
    }
}
