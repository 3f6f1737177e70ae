// A gRPC-shaped HTTP/2 server on Node's own http2 that breaks every call off with RST_STREAM:
// `node reset-server.cjs server --listen ...`. The call's metadata says how:
// `x-reset-code: N` (default 2, INTERNAL_ERROR), `x-reset-after: nothing|headers|data|message` (default data):
// before HEADERS, after them, inside a message, after a whole message.
// `x-reset-attempts: N`: only the first N streams of a call (by `x-call-id`) are broken off, the next goes well.
'use strict';

const http2 = require('node:http2');
const { announce, fail, parse } = require('./common.cjs');

const [role, ...words] = process.argv.slice(2);
if (role !== 'server') fail('usage: reset-server.cjs server ...');
const options = parse(words);
const handled = {};
const attempts = {};
// A message of 100 bytes: Payload field 1 of 98 bytes, whose body (field 2) has 96.
const MESSAGE = Buffer.concat([Buffer.from([0, 0, 0, 0, 100, 0x0a, 98, 0x12, 96]), Buffer.alloc(96)]);

function answer(stream) {
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.end(MESSAGE);
}

const server = http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const method = headers[':path'].split('/').pop();
  handled[method] = (handled[method] || 0) + 1;
  const code = Number(headers['x-reset-code'] || 2);
  const after = headers['x-reset-after'] || 'data';
  const id = headers['x-call-id'];
  attempts[id] = (attempts[id] || 0) + 1;
  const goesWell = attempts[id] > Number(headers['x-reset-attempts'] || Infinity);
  stream.resume();
  stream.on('end', () => {
    if (goesWell) { answer(stream); return; }
    if (after === 'nothing') { stream.close(code); return; }
    // Node ends a stream before it resets it; one that waits for trailers does not send END_STREAM with that.
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    if (after === 'headers') { setImmediate(() => stream.close(code)); return; }
    stream.write(after === 'message' ? MESSAGE : MESSAGE.subarray(0, 40), () => stream.close(code));
  });
});
const unix = options.listen.startsWith('unix:') ? options.listen.slice('unix:'.length) : null;
const [host, port] = unix ? [] : [options.listen.replace(/:\d+$/, ''), Number(options.listen.match(/\d+$/)[0])];
server.on('error', (error) => fail(`cannot listen on ${options.listen}: ${error.message}`));
server.listen(unix ? { path: unix } : { host: host.replace(/^\[|\]$/g, ''), port }, () => {
  announce(unix ? options.listen : `${host}:${server.address().port}`, handled);
});
