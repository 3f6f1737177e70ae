// A gRPC server on grpc-js, over TLS or in clear: grpc_js.cjs PORT KEY CERTIFICATE; - and - for clear text.
'use strict';

const { readFileSync } = require('node:fs');
const grpc = require('grpc-js-1.14.7');

const [port, key, cert] = process.argv.slice(2);
const same = (bytes) => bytes;
const method = {
  path: '/grpc.testing.TestService/EmptyCall',
  requestStream: false,
  responseStream: false,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};
const server = new grpc.Server();
server.addService({ EmptyCall: method }, { EmptyCall: (call, answer) => answer(null, Buffer.alloc(0)) });
const credentials = key === '-'
  ? grpc.ServerCredentials.createInsecure()
  : grpc.ServerCredentials.createSsl(null, [{ private_key: readFileSync(key), cert_chain: readFileSync(cert) }]);
server.bindAsync(`127.0.0.1:${port}`, credentials, (error) => {
  if (error) throw error;
});
