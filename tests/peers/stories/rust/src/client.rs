//! The client of the crate h2, whose encoder is its own affair: it sends requests over a pipe, and their header
//! blocks are taken off the frames.

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::Result;
use crate::fields::{Block, Field, List};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PREFACE_LEN: usize = 24;
const HEADER_TABLE_SIZE: u16 = 1;

/// The order in which the client sends them.
const PSEUDO: [&[u8]; 4] = [b":method", b":scheme", b":authority", b":path"];

/// Whether these are requests, their fields in the order that the client's map keeps: the same names together.
pub(crate) fn takes(list: &List) -> bool {
    list.blocks.iter().all(|block| {
        let names: Vec<&[u8]> = block
            .fields
            .iter()
            .map(|field| field.name.as_slice())
            .collect();
        let mut changes: Vec<_> = names.clone();
        changes.dedup();
        let mut distinct = changes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        names.starts_with(&PSEUDO) && distinct.len() == changes.len() && request(block).is_ok()
    })
}

fn request(block: &Block) -> Result<Request<()>> {
    let (pseudo, others) = block
        .fields
        .split_at_checked(PSEUDO.len())
        .ok_or("no request")?;
    let [method, scheme, authority, path] = pseudo else {
        return Err("no request".into());
    };
    let uri = Uri::builder()
        .scheme(scheme.value.as_slice())
        .authority(authority.value.as_slice())
        .path_and_query(path.value.as_slice())
        .build()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(&method.value)?;
    *request.uri_mut() = uri;
    for Field {
        name,
        value,
        secret,
    } in others
    {
        let mut value = HeaderValue::from_bytes(value)?;
        value.set_sensitive(*secret);
        request
            .headers_mut()
            .append(HeaderName::from_bytes(name)?, value);
    }
    Ok(request)
}

pub(crate) fn encode(list: &List) -> Result<Vec<Vec<u8>>> {
    tokio::runtime::Builder::new_current_thread()
        .build()?
        .block_on(conversation(list))
}

async fn conversation(list: &List) -> Result<Vec<Vec<u8>>> {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (mut requests, connection) = client::handshake(near).await?;
    tokio::spawn(connection);
    let mut server = Server(far);
    let mut preface = [0; PREFACE_LEN];
    server.0.read_exact(&mut preface).await?;
    server.settings(&[]).await?;
    let mut blocks = Vec::new();
    // Kept: an answer that nobody waits for is a reset.
    let mut answers = Vec::new();
    for block in &list.blocks {
        for &size in &block.tables {
            server.settings(&[(HEADER_TABLE_SIZE, size)]).await?;
        }
        requests = ready(requests).await?;
        answers.push(requests.send_request(request(block)?, true)?);
        blocks.push(server.header_block().await?);
    }
    Ok(blocks)
}

async fn ready(requests: SendRequest<Bytes>) -> Result<SendRequest<Bytes>> {
    Ok(requests.ready().await?)
}

/// The other end, as far as the client needs one.
struct Server(DuplexStream);

impl Server {
    /// Sends SETTINGS, and waits until the client has taken them on.
    async fn settings(&mut self, list: &[(u16, u32)]) -> Result<()> {
        let payload: Vec<u8> = list
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let len = u8::try_from(payload.len())?;
        self.0
            .write_all(&[0, 0, len, SETTINGS, 0, 0, 0, 0, 0])
            .await?;
        self.0.write_all(&payload).await?;
        loop {
            let (frame_type, flags, _) = self.frame().await?;
            if frame_type == SETTINGS && flags & ACK != 0 {
                return Ok(());
            }
        }
    }

    async fn header_block(&mut self) -> Result<Vec<u8>> {
        let mut block = Vec::new();
        loop {
            let (frame_type, flags, payload) = self.frame().await?;
            if frame_type != HEADERS && frame_type != CONTINUATION {
                continue;
            }
            block.extend(payload);
            if flags & END_HEADERS != 0 {
                return Ok(block);
            }
        }
    }

    async fn frame(&mut self) -> Result<(u8, u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let [l0, l1, l2, frame_type, flags, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.0.read_exact(&mut payload).await?;
        Ok((frame_type, flags, payload))
    }
}
