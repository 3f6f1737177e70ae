//! `/metrics`, `/healthz` and `/readyz` for Prometheus and for the kubelet.
//!
//! Anybody who reaches the port may ask: no client keeps another from being answered, and least of all the kubelet.

mod guard;
mod heartbeat;
mod pages;
mod served;
mod tokens;
mod turns;
mod watched;
mod web_config;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2trace_core::limits::Limit;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

pub use self::guard::Guard;
use self::guard::Permit;
pub use self::heartbeat::Heartbeat;
use self::pages::Pages;
use self::served::{ServedConnection, ServedConnections};
use self::watched::{Progress, Watched};
use super::prometheus::Scrape;
use crate::plain::lines;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take nothing of an answer that waits for it.
const STALL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take for a page: longer than a scraper waits for one.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may live, idle or not: a scraper comes back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// How often it is looked whether a client takes what waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Takes the port that `option` gives, so that a port in use is known before anything is attached.
///
/// # Errors
/// The address is in use, not of this host, or needs a privilege.
pub fn bind(address: SocketAddr, option: &str) -> anyhow::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| {
        let cause = match error.kind() {
            std::io::ErrorKind::AddrInUse => "the port is in use".to_owned(),
            std::io::ErrorKind::AddrNotAvailable => "the address is not of this host".to_owned(),
            std::io::ErrorKind::PermissionDenied => "not permitted for this port".to_owned(),
            _ => error.to_string(),
        };
        anyhow::anyhow!(
            "cannot listen on {address}: {cause} (choose another with {option} ADDRESS:PORT)"
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What is served on a port.
#[derive(Clone)]
pub struct Site {
    heartbeat: Arc<Heartbeat>,
    scrape: Scrape,
    pages: Option<Pages>,
    places: ServedConnections,
    guard: Option<Arc<Guard>>,
}

impl Site {
    /// The metrics, and the probes too.
    #[must_use]
    pub fn whole(scrape: Scrape, heartbeat: Arc<Heartbeat>) -> Self {
        let mut site = Self::probes(scrape, heartbeat);
        site.pages = Some(Pages::new(
            site.scrape.clone(),
            Arc::clone(&site.heartbeat),
            site.places.clone(),
        ));
        site
    }

    /// The probes alone; `scrape` counts who had to give way.
    #[must_use]
    pub fn probes(scrape: Scrape, heartbeat: Arc<Heartbeat>) -> Self {
        Self {
            heartbeat,
            scrape,
            pages: None,
            places: ServedConnections::default(),
            guard: None,
        }
    }

    /// Only for whom `guard` permits.
    #[must_use]
    pub fn guarded(mut self, guard: Option<Arc<Guard>>) -> Self {
        self.guard = guard;
        self
    }

    /// Serves until the future is dropped.
    ///
    /// # Errors
    /// The listener cannot be used.
    pub async fn serve(self, listener: std::net::TcpListener) -> anyhow::Result<Infallible> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (place, full) = self.places.take(peer.ip());
                    if full {
                        self.scrape.limit_hit(Limit::HttpConnections);
                    }
                    tokio::spawn(self.clone().serve_connection(stream, place));
                }
                Err(error) => {
                    // Out of file descriptors, or a connection that went away: the listener itself lives on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve_connection(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        place: ServedConnection,
    ) {
        let progress = &place.progress;
        let stream = Watched::new(stream, Arc::clone(progress));
        let Some(tls) = self.guard.as_deref().and_then(Guard::tls) else {
            return self.clone().serve_http(stream, &place).await;
        };
        tokio::select! {
            stream = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)) => match stream {
                Ok(Ok(stream)) => self.clone().serve_http(stream, &place).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS with a scraper"),
                Err(_) => tracing::debug!("connection of a scraper was closed: no TLS in time"),
            },
            () = place.cut.notified() => {
                tracing::debug!("connection of a scraper was closed: it gave way to others");
            }
        }
    }

    async fn serve_http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        place: &ServedConnection,
    ) {
        let progress = &place.progress;
        let service = service_fn(|request| {
            let answer = self.answer(request, place);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        let ended = tokio::select! {
            done = connection => match done {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(%error, "connection of a scraper ended");
                    return;
                }
            },
            () = place.cut.notified() => "it gave way to others",
            () = stalled(progress) => "its client did not take the answer",
            () = tokio::time::sleep(CONNECTION_TIMEOUT) => "its time was over",
        };
        tracing::debug!("connection of a scraper was closed: {ended}");
    }

    /// The answer to a request; its body is not read.
    async fn answer<B>(
        &self,
        request: Request<B>,
        place: &ServedConnection,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let pages = self.pages.as_ref().filter(|_| path == "/metrics");
        if pages.is_none() && !matches!(path, "/healthz" | "/readyz") {
            let paths = match self.pages {
                Some(_) => "not found: /metrics, /healthz and /readyz are served here\n",
                None => "not found: /healthz and /readyz are served here\n",
            };
            return text(StatusCode::NOT_FOUND, paths);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if let Some(guard) = &self.guard {
            let permit = guard.permits(place.peer, request.headers(), path).await;
            if let Some(refusal) = refusal(guard, permit) {
                return refusal;
            }
        }
        let heartbeat = &self.heartbeat;
        match pages {
            Some(pages) => {
                let reader = Arc::clone(&place.progress);
                self.metrics(pages, takes_gzip(&request), reader).await
            }
            None if path == "/healthz" => state(heartbeat, heartbeat.unhealthy()),
            None => state(heartbeat, heartbeat.unready()),
        }
    }

    async fn metrics(
        &self,
        pages: &Pages,
        packed: bool,
        reader: Arc<Progress>,
    ) -> Response<Full<Bytes>> {
        let page = match pages.page(packed, reader).await {
            Ok(page) => page,
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}\n")),
        };
        let mut response = Response::new(Full::new(page));
        let headers = response.headers_mut();
        if let Ok(content_type) = HeaderValue::from_str(&self.scrape.content_type()) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// The answer to whom `guard` does not let in.
fn refusal(guard: &Guard, permit: Permit) -> Option<Response<Full<Bytes>>> {
    match permit {
        Permit::Given => None,
        Permit::Unauthorized => {
            let mut response = text(StatusCode::UNAUTHORIZED, "not permitted\n");
            for challenge in guard.challenges() {
                let challenge = HeaderValue::from_static(challenge);
                response.headers_mut().append(WWW_AUTHENTICATE, challenge);
            }
            Some(response)
        }
        Permit::Forbidden => Some(text(
            StatusCode::FORBIDDEN,
            "forbidden: it takes a ClusterRole with nonResourceURLs of this path, verbs [get]\n",
        )),
        Permit::Unknown => Some(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server, which knows bearer tokens, does not answer\n",
        )),
    }
}

/// Comes when the client does not take what waits for it, or takes too long.
async fn stalled(progress: &Progress) {
    let beyond = |since: Option<Instant>, bound| since.is_some_and(|at| at.elapsed() > bound);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if beyond(progress.blocked(), STALL_TIMEOUT) || beyond(progress.answering(), PAGE_TIMEOUT) {
            return;
        }
    }
}

/// The client takes a page in gzip (RFC 9110, section 12.5.3).
fn takes_gzip<B>(request: &Request<B>) -> bool {
    let fields = request.headers().get_all(ACCEPT_ENCODING);
    fields
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.parse().is_ok_and(|q: f32| q == 0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

fn state(heartbeat: &Heartbeat, trouble: Option<String>) -> Response<Full<Bytes>> {
    match trouble {
        None => text(StatusCode::OK, &heartbeat.remark()),
        Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, &trouble),
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(lines(body).into_owned())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests;
