// The connect-node peer (gRPC transport over HTTP/2): `node connect.cjs client ...`. See ../README.md.
'use strict';

const net = require('node:net');
const { proto3, ScalarType, MethodKind } = require('@bufbuild/protobuf');
const { createPromiseClient, ConnectError, Code } = require('@connectrpc/connect');
const { createGrpcTransport } = require('@connectrpc/connect-node');
const { fail, parse, runClient } = require('./common.cjs');

const [role, ...words] = process.argv.slice(2);
if (role !== 'client') fail('usage: connect.cjs client ...');
const options = parse(words);

// ../proto/test_service.proto by hand: connect 1.x wants generated classes, and this is all that is needed.
const message = (name, fields) => proto3.makeMessageType(`grpc.testing.${name}`, () => fields);
const scalar = (no, name, T) => ({ no, name, kind: 'scalar', T });
const nested = (no, name, T, repeated) => ({ no, name, kind: 'message', T, repeated });
const Empty = message('Empty', []);
const Payload = message('Payload', [scalar(2, 'body', ScalarType.BYTES)]);
const EchoStatus = message('EchoStatus', [scalar(1, 'code', ScalarType.INT32), scalar(2, 'message', ScalarType.STRING)]);
const SimpleRequest = message('SimpleRequest', [
  scalar(2, 'response_size', ScalarType.INT32), nested(3, 'payload', Payload), nested(7, 'response_status', EchoStatus)]);
const SimpleResponse = message('SimpleResponse', [nested(1, 'payload', Payload)]);
const StreamingInputCallRequest = message('StreamingInputCallRequest', [nested(1, 'payload', Payload)]);
const StreamingInputCallResponse = message('StreamingInputCallResponse', [
  scalar(1, 'aggregated_payload_size', ScalarType.INT32)]);
const ResponseParameters = message('ResponseParameters', [
  scalar(1, 'size', ScalarType.INT32), scalar(2, 'interval_us', ScalarType.INT32)]);
const StreamingOutputCallRequest = message('StreamingOutputCallRequest', [
  nested(2, 'response_parameters', ResponseParameters, true), nested(3, 'payload', Payload),
  nested(7, 'response_status', EchoStatus)]);
const StreamingOutputCallResponse = message('StreamingOutputCallResponse', [nested(1, 'payload', Payload)]);
const method = (name, I, O, kind) => ({ name, I, O, kind });
const TestService = {
  typeName: 'grpc.testing.TestService',
  methods: {
    emptyCall: method('EmptyCall', Empty, Empty, MethodKind.Unary),
    unaryCall: method('UnaryCall', SimpleRequest, SimpleResponse, MethodKind.Unary),
    streamingOutputCall: method('StreamingOutputCall', StreamingOutputCallRequest, StreamingOutputCallResponse,
      MethodKind.ServerStreaming),
    streamingInputCall: method('StreamingInputCall', StreamingInputCallRequest, StreamingInputCallResponse,
      MethodKind.ClientStreaming),
    fullDuplexCall: method('FullDuplexCall', StreamingOutputCallRequest, StreamingOutputCallResponse,
      MethodKind.BiDiStreaming),
  },
};

const unix = options.target.startsWith('unix:');
const transport = createGrpcTransport({
  httpVersion: '2',
  baseUrl: unix ? 'http://localhost' : `http://${options.target}`,
  nodeOptions: unix ? { createConnection: () => net.connect(options.target.slice('unix:'.length)) } : {},
});
const stub = createPromiseClient(TestService, transport);

const size = (response) => response.payload?.body.length ?? 0;
const payload = (n) => ({ body: new Uint8Array(n) });
const streamed = (n) => ({
  responseParameters: Array.from({ length: n }, () => ({
    size: options['response-bytes'], intervalUs: options['interval-us'],
  })),
  payload: payload(options['request-bytes']),
});

async function perform(id) {
  const abort = new AbortController();
  const call = { headers: new Headers(options['id-field'] ? { [options['id-field']]: id } : { 'x-call-id': id, from: id }), signal: abort.signal };
  for (const [name, value] of options.header) call.headers.set(name, value);
  if (options['deadline-ms'] > 0) call.timeoutMs = options['deadline-ms'];
  let bytes = 0;
  try {
    switch (options.mode) {
      case 'unary': case 'deadline': case 'status': {
        const request = { responseSize: options['response-bytes'], payload: payload(options['request-bytes']) };
        if (options.mode === 'status') request.responseStatus = { code: options['status-code'], message: 'as asked' };
        bytes += size(await stub.unaryCall(request, call));
        break;
      }
      case 'empty':
        await stub.emptyCall({}, call);
        break;
      case 'client_stream':
        await stub.streamingInputCall((async function* requests() {
          for (let i = 0; i < options.messages; i++) yield { payload: payload(options['request-bytes']) };
        }()), call);
        break;
      case 'server_stream': case 'cancel':
        for await (const response of stub.streamingOutputCall(streamed(options.messages), call)) {
          bytes += size(response);
          if (options.mode === 'cancel') abort.abort();
        }
        break;
      case 'bidi': {
        let answered = () => {};
        const requests = async function* requests() {
          for (let i = 0; i < options.messages; i++) {
            const answer = new Promise((done) => { answered = done; });
            yield streamed(1);
            await answer;
          }
        };
        for await (const response of stub.fullDuplexCall(requests(), call)) {
          bytes += size(response);
          answered();
        }
        break;
      }
      default: fail(`unknown mode ${options.mode}`);
    }
    return { code: 0, message: '', bytes };
  } catch (error) {
    const failure = ConnectError.from(error);
    return { code: failure.code ?? Code.Unknown, message: failure.message, bytes };
  }
}

// The HTTP/2 session of connect-node has no close of its own; nothing else is left to do.
runClient(options, perform, async () => process.exit(0));
