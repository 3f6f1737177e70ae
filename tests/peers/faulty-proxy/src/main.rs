//! A proxy on a real HTTP/2 stack, with defects to choose from: `faulty-proxy --listen .. --upstream .. --defect ..`.
//! See ../README.md.
//!
//! Without a defect it does what a proxy should: it passes on what comes, holds a response back while the client's
//! window is used up, passes resets on both ways with their codes. A defect shows only where its condition holds,
//! and each request that it broke is printed.

mod batch;
mod pass;
mod request;
mod response;

use std::net::SocketAddr;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use h2::client::SendRequest;
use tokio::net::{TcpListener, TcpStream};

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Defect {
    /// Nothing.
    None,
    /// When the response is complete and the request is not, the stream is reset: what was held back is lost.
    ResetWhenAnsweredEarly,
    /// A response that was ever held back gets a reset in place of its trailers.
    ResetForTrailers,
    /// A response that was ever held back ends with an empty DATA frame in place of its trailers.
    EndForTrailers,
    /// When the response is complete, what is held back beyond 4,096 bytes is forgotten; trailers follow.
    ForgetTail,
    /// A reset of the server is passed on as NO_ERROR.
    CodeToNoError,
    /// Of a request of more than 8,192 bytes the rest is thrown away, and the server's stream is reset.
    CutRequest,
    /// The client's reset is not passed on, nor its deadline.
    IgnoreCancel,
    /// A failure of the server is told as a response with grpc-status 14.
    Synthesize,
    /// The answer to a call with a deadline is kept until the client gives up.
    KeepAnswer,
    /// Any grpc-status becomes 0.
    StatusToZero,
}

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    /// Another server: a request goes there first, and to `upstream` when it fails before a response.
    #[arg(long)]
    first: Option<SocketAddr>,
    /// With `first`: both get the request at once, and the one that answers first is passed on.
    #[arg(long)]
    hedge: bool,
    /// Requests that come within two milliseconds are passed on together, the last first.
    #[arg(long)]
    reorder: bool,
    /// With `reorder`: their answers are passed back together too, in the order they came.
    #[arg(long)]
    answers_together: bool,
    #[arg(long, value_enum, default_value = "none")]
    defect: Defect,
}

pub type Server = SendRequest<Bytes>;

/// What a request is passed on with.
#[derive(Clone)]
pub struct Proxy {
    pub upstream: Server,
    pub first: Option<Server>,
    pub hedge: bool,
    pub requests: Option<batch::Batch>,
    pub answers: Option<batch::Batch>,
    pub defect: Defect,
}

/// Says that a request was broken.
pub fn say(id: &str, did: &str) {
    println!("{{\"broken\":\"{id}\",\"did\":\"{did}\"}}");
}

async fn dial(address: SocketAddr) -> Result<Server, Box<dyn std::error::Error>> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(1 << 20)
        .initial_connection_window_size(64 << 20);
    builder.enable_push(false);
    let (server, connection) = builder.handshake(socket).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("the server's connection: {error}");
        }
    });
    Ok(server)
}

async fn serve(socket: TcpStream, proxy: Proxy) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(socket)
        .await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(pass::on(proxy.clone(), request, respond));
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let upstream = dial(arguments.upstream).await?;
    let first = match arguments.first {
        Some(address) => Some(dial(address).await?),
        None => None,
    };
    let proxy = Proxy {
        upstream,
        first,
        hedge: arguments.hedge,
        requests: arguments.reorder.then(|| batch::Batch::new(true)),
        answers: arguments
            .answers_together
            .then(|| batch::Batch::new(false)),
        defect: arguments.defect,
    };
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("ready {}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let proxy = proxy.clone();
        tokio::spawn(async move {
            if let Err(error) = serve(socket, proxy).await {
                eprintln!("a client's connection: {error}");
            }
        });
    }
}
