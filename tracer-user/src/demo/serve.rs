//! What the demo's server and proxy have in common: HTTP/2 on loopback.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::net::{TcpListener, TcpStream};

use super::part::{self, Ready};

/// Says where it listens, then has every request answered by `answer`, until standard input ends.
pub(super) async fn until_told<A, F>(answer: A) -> anyhow::Result<()>
where
    A: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("cannot listen on loopback")?;
    let listen = listener.local_addr().context("no local address")?;
    let stop = part::next_input();
    part::say(&Ready {
        listen: Some(listen),
    })?;
    let accept = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, answer.clone()));
            }
        }
    };
    tokio::select! {
        _ = stop => {}
        () = accept => {}
    }
    Ok(())
}

async fn connection<A, F>(stream: TcpStream, answer: A) -> anyhow::Result<()>
where
    A: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    F: Future<Output: Send> + Send + 'static,
{
    // Without it Nagle's algorithm would hold back small frames for tens of milliseconds.
    stream.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .initial_window_size(part::WIDE_WINDOW)
        .initial_connection_window_size(part::WIDE_WINDOW)
        .max_concurrent_reset_streams(part::RESET_STREAMS)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}
