// A gRPC-shaped HTTP/2 server on Node's own http2 that breaks every call off with RST_STREAM:
// `node reset-server.cjs server --listen ...`. The call's metadata says how:
// `x-reset-code: N` (default 2, INTERNAL_ERROR), `x-reset-after: nothing|headers|data|message` (default data):
// before HEADERS, after them, inside a message, after a whole message.
'use strict';

const http2 = require('node:http2');
const { announce, fail, parse } = require('./common.cjs');

const [role, ...words] = process.argv.slice(2);
if (role !== 'server') fail('usage: reset-server.cjs server ...');
const options = parse(words);
const handled = {};

const server = http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const method = headers[':path'].split('/').pop();
  handled[method] = (handled[method] || 0) + 1;
  const code = Number(headers['x-reset-code'] || 2);
  const after = headers['x-reset-after'] || 'data';
  stream.resume();
  stream.on('end', () => {
    if (after === 'nothing') { stream.close(code); return; }
    // Node ends a stream before it resets it; one that waits for trailers does not send END_STREAM with that.
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    if (after === 'headers') { setImmediate(() => stream.close(code)); return; }
    // A message of 100 bytes: Payload field 1 of 98 bytes, whose body (field 2) has 96.
    const message = Buffer.concat([Buffer.from([0, 0, 0, 0, 100, 0x0a, 98, 0x12, 96]), Buffer.alloc(96)]);
    stream.write(after === 'message' ? message : message.subarray(0, 40), () => stream.close(code));
  });
});
const unix = options.listen.startsWith('unix:') ? options.listen.slice('unix:'.length) : null;
const [host, port] = unix ? [] : [options.listen.replace(/:\d+$/, ''), Number(options.listen.match(/\d+$/)[0])];
server.on('error', (error) => fail(`cannot listen on ${options.listen}: ${error.message}`));
server.listen(unix ? { path: unix } : { host: host.replace(/^\[|\]$/g, ''), port }, () => {
  announce(unix ? options.listen : `${host}:${server.address().port}`, handled);
});
