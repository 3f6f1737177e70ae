"""A gRPC server on grpcio, over TLS or in clear: grpcio.py PORT KEY CERTIFICATE; - and - for clear text."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

port, key, certificate = sys.argv[1:]
answer = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
service = grpc.method_handlers_generic_handler("grpc.testing.TestService", {"EmptyCall": answer})
server = grpc.server(ThreadPoolExecutor(4), handlers=[service])
if key == "-":
    server.add_insecure_port(f"127.0.0.1:{port}")
else:
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
server.start()
server.wait_for_termination()
