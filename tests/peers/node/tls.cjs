// HTTP/2 over TLS, both ends in one process: tls.cjs PORT KEY CERTIFICATE CALLS [PAUSE]. Run it with --tls-keylog. With - for
// key and certificate the same in clear. Each connection pauses for so many ms behind its first calls.
'use strict';

const fs = require('node:fs');
const http2 = require('node:http2');

const [port, key, cert, calls, pause] = process.argv.slice(2);
const isClear = key === '-';
const certificate = isClear ? undefined : fs.readFileSync(cert);
const scheme = isClear ? 'http' : 'https';

const server = isClear
  ? http2.createServer()
  : http2.createSecureServer({ key: fs.readFileSync(key), cert: certificate });
server.on('stream', (stream, headers) => {
  const n = Number(headers['x-n']);
  stream.on('error', () => {});
  stream.resume();
  if (n % 7 === 0) {
    stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    return;
  }
  stream.respond({ ':status': 200 }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(n % 3) }));
  stream.end(Buffer.alloc(n * 1000, 'x'));
});

function call(client, n) {
  return new Promise((done) => {
    const stream = client.request({ ':method': 'POST', 'x-n': String(n) });
    stream.on('error', () => {});
    stream.on('close', done);
    stream.resume();
    stream.end(Buffer.alloc(n * 100, 'y'));
  });
}

// A connection of its own for each version, one more that resumes the session of the one before it.
async function run() {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2']) {
    let session;
    for (let connection = 0; connection < 2; connection += 1) {
      const client = http2.connect(`${scheme}://localhost:${port}`, { ca: certificate, maxVersion, session });
      client.on('connect', (_, socket) => socket.on('session', (ticket) => { session = ticket; }));
      for (let n = 0; n < Number(calls); n += 10) {
        await Promise.all(Array.from({ length: 10 }, (_, k) => call(client, n + k)));
        if (pause && n === 0) await new Promise((done) => setTimeout(done, Number(pause)));
      }
      await new Promise((done) => client.close(done));
    }
  }
  server.close();
}

server.listen(Number(port), '127.0.0.1', () => {
  run().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
  });
});
