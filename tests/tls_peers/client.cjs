// A client of HTTP/2 over TLS or in clear: client.cjs URL VERSION CIPHERS CONNECTIONS BEFORE CALLS. A URL that ends with a gRPC
// method is called as one, with an empty message. Each connection makes BEFORE calls, and then, when "go" comes, CALLS more.
'use strict';

const http2 = require('node:http2');
const { createInterface } = require('node:readline');

const [url, version, ciphers, ...numbers] = process.argv.slice(2);
const [connections, before, calls] = numbers.map(Number);
const { origin, pathname } = new URL(url);
const isCall = pathname.includes('.');
const options = { rejectUnauthorized: false, minVersion: version, maxVersion: version, ciphers };

function call(client) {
  return new Promise((done) => {
    const grpc = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };
    const stream = client.request({ ':path': pathname, ...(isCall ? grpc : {}) }, { endStream: !isCall });
    stream.on('error', (error) => console.error(String(error)));
    stream.on('close', done);
    stream.resume();
    if (isCall) stream.end(Buffer.alloc(5));
  });
}

async function some(client, n) {
  for (let made = 0; made < n; made += 1) {
    await call(client);
    await new Promise((done) => setTimeout(done, 100));
  }
}

async function run(go) {
  const clients = Array.from({ length: connections }, () => http2.connect(origin, url.startsWith('https') ? options : {}));
  clients.forEach((client) => client.on('error', (error) => console.error(String(error))));
  await Promise.all(clients.map((client) => some(client, before)));
  console.log('ready');
  await go;
  await Promise.all(clients.map((client) => some(client, calls)));
  console.log('done');
  return clients;
}

const lines = createInterface({ input: process.stdin });
const closed = new Promise((done) => lines.once('close', done));
run(new Promise((go) => lines.once('line', go))).then(async (clients) => {
  // Keys are looked for while the connections live.
  await closed;
  clients.forEach((client) => client.close());
});
