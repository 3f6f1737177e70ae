//! A connection whose writes are watched: who does not read is noticed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a connection gets on.
#[derive(Debug)]
pub(super) struct Progress(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When it was accepted, or when its client last took bytes. What a client sends is no progress: a head that comes
    /// byte by byte is none.
    last: Instant,
    /// Bytes wait for a client that does not take them.
    blocked: Option<Instant>,
    /// The first of an answer that is on its way.
    answering: Option<Instant>,
    /// The page that it reads.
    page: Option<u64>,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            last: now,
            blocked: None,
            answering: None,
            page: None,
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When its client last took something.
    pub(super) fn last(&self) -> Instant {
        self.state().last
    }

    /// Since when its client takes nothing of what waits for it.
    pub(super) fn blocked(&self) -> Option<Instant> {
        self.state().blocked
    }

    /// Since when it is being answered.
    pub(super) fn answering(&self) -> Option<Instant> {
        self.state().answering
    }

    /// The page that it reads.
    pub(super) fn page(&self) -> Option<u64> {
        self.state().page
    }

    /// It reads this page from now on.
    pub(super) fn begin(&self, page: u64) {
        let mut state = self.state();
        state.answering = Some(Instant::now());
        state.page = Some(page);
    }

    /// It has read it.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.answering = None;
        state.page = None;
    }

    fn wrote(&self, done: bool) {
        let mut state = self.state();
        let now = Instant::now();
        if done {
            state.last = now;
            state.blocked = None;
        } else {
            state.blocked.get_or_insert(now);
        }
    }
}

/// A stream that tells [`Progress`] of its writes.
pub(super) struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress }
    }

    fn watch(&self, written: &Poll<io::Result<usize>>) {
        self.progress.wrote(written.is_ready());
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
