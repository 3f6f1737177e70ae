// The @grpc/grpc-js peer: `node grpc-js.cjs VERSION client|server ...`. See ../README.md.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { announce, fail, parse, runClient, sleep } = require('./common.cjs');

const [version, role, ...words] = process.argv.slice(2);
if (!version || !['client', 'server'].includes(role)) fail('usage: grpc-js.cjs VERSION client|server ...');
const grpc = require(`grpc-js-${version}`);
const loader = require('@grpc/proto-loader');
const options = parse(words);

const definition = loader.loadSync(path.join(__dirname, '..', 'proto', 'test_service.proto'), { keepCase: true });
const { TestService } = grpc.loadPackageDefinition(definition).grpc.testing;
const LIMITS = { 'grpc.max_receive_message_length': 64 << 20 };

const size = (message) => (message && message.payload && message.payload.body ? message.payload.body.length : 0);
const payload = (n) => ({ body: Buffer.alloc(n) });

function client() {
  const stub = new TestService(options.target, grpc.credentials.createInsecure(), LIMITS);
  const parameters = (n) => Array.from({ length: n }, () => ({
    size: options['response-bytes'], interval_us: options['interval-us'],
  }));
  const streamed = (n) => ({ response_parameters: parameters(n), payload: payload(options['request-bytes']) });

  const perform = (id) => new Promise((resolve) => {
    const metadata = new grpc.Metadata();
    for (const name of options['id-field'] ? [options['id-field']] : ['x-call-id', 'from']) metadata.set(name, id);
    for (const [name, value] of options.header) metadata.set(name, value);
    const call = options['deadline-ms'] > 0 ? { deadline: Date.now() + options['deadline-ms'] } : {};
    let bytes = 0;
    const end = (status) => resolve({ code: status.code, message: status.details, bytes });
    const once = (error, response) => {
      bytes += size(response);
      end(error || { code: 0, details: '' });
    };
    const follow = (stream, onMessage) => {
      stream.on('data', (message) => { bytes += size(message); onMessage(); });
      stream.on('error', () => {}); // the status event says it
      stream.on('status', end);
    };
    switch (options.mode) {
      case 'unary': case 'deadline': case 'status': {
        const request = { response_size: options['response-bytes'], payload: payload(options['request-bytes']) };
        if (options.mode === 'status') request.response_status = { code: options['status-code'], message: 'as asked' };
        stub.UnaryCall(request, metadata, call, once);
        break;
      }
      case 'empty':
        stub.EmptyCall({}, metadata, call, once);
        break;
      case 'client_stream': {
        const stream = stub.StreamingInputCall(metadata, call, once);
        for (let i = 0; i < options.messages; i++) stream.write({ payload: payload(options['request-bytes']) });
        stream.end();
        break;
      }
      case 'server_stream': case 'cancel': {
        const stream = stub.StreamingOutputCall(streamed(options.messages), metadata, call);
        follow(stream, () => { if (options.mode === 'cancel') stream.cancel(); });
        break;
      }
      case 'bidi': {
        const stream = stub.FullDuplexCall(metadata, call);
        let sent = 0;
        const next = () => {
          if (sent++ < options.messages) stream.write(streamed(1));
          else stream.end();
        };
        follow(stream, next);
        next();
        break;
      }
      default: fail(`unknown mode ${options.mode}`);
    }
  });
  runClient(options, perform, () => stub.close());
}

function server() {
  const handled = {};
  const begin = async (method, call) => {
    handled[method] = (handled[method] || 0) + 1;
    const delay = Number(call.metadata.get('x-delay-ms')[0] || 0);
    if (delay > 0) await sleep(delay);
  };
  const asked = (request) => {
    const status = request.response_status;
    return status && status.code ? { code: status.code, details: status.message } : null;
  };
  const respond = async (request, call) => {
    for (const { size: n, interval_us: interval } of request.response_parameters) {
      if (call.cancelled) return;
      if (interval > 0) await sleep(interval / 1000);
      if (!call.write({ payload: payload(n) })) await new Promise((done) => call.once('drain', done));
    }
  };
  const service = new grpc.Server(LIMITS);
  service.addService(TestService.service, {
    async EmptyCall(call, done) { await begin('EmptyCall', call); done(null, {}); },
    async UnaryCall(call, done) {
      await begin('UnaryCall', call);
      const status = asked(call.request);
      if (status) done(status); else done(null, { payload: payload(call.request.response_size) });
    },
    async StreamingOutputCall(call) {
      await begin('StreamingOutputCall', call);
      await respond(call.request, call);
      const status = asked(call.request);
      if (status) call.emit('error', status); else call.end();
    },
    async StreamingInputCall(call, done) {
      let sum = 0;
      call.on('data', (message) => { sum += size(message); });
      const all = new Promise((end) => call.on('end', end));
      await begin('StreamingInputCall', call);
      await all;
      done(null, { aggregated_payload_size: sum });
    },
    async FullDuplexCall(call) {
      let last = begin('FullDuplexCall', call);
      call.on('data', (request) => { last = last.then(() => respond(request, call)); });
      call.on('end', () => { last.then(() => call.end()); });
    },
  });
  if (options.listen.startsWith('unix:')) fs.rmSync(options.listen.slice('unix:'.length), { force: true });
  service.bindAsync(options.listen, grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) fail(`cannot listen on ${options.listen}: ${error.message}`);
    const address = options.listen.startsWith('unix:') ? options.listen : options.listen.replace(/:\d+$/, `:${port}`);
    announce(address, handled);
  });
}

if (role === 'client') client(); else server();
