"""The grpcio peer of h2trace's live tests: `peer.py server|client ...`. See ../README.md.

`test_service_pb2` is made from ../proto/test_service.proto by `cargo xtask setup`.
"""

import argparse
import itertools
import json
import os
import signal
import sys
import threading
import time
from concurrent import futures

import grpc
import test_service_pb2 as pb

SERVICE = "grpc.testing.TestService"
LIMITS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
OUTPUT = threading.Lock()


def say(line):
    with OUTPUT:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def payload(n):
    return pb.Payload(body=bytes(n))


# --- server ---------------------------------------------------------------------------------------


class Service:
    def __init__(self):
        self.handled = {}
        self.mutex = threading.Lock()

    def begin(self, method, context):
        with self.mutex:
            self.handled[method] = self.handled.get(method, 0) + 1
        delay = int(dict(context.invocation_metadata()).get("x-delay-ms", 0))
        if delay > 0:
            time.sleep(delay / 1000)

    @staticmethod
    def asked(request, context):
        if request.response_status.code:
            code = next(c for c in grpc.StatusCode if c.value[0] == request.response_status.code)
            context.abort(code, request.response_status.message)

    @staticmethod
    def respond(request, context):
        for parameters in request.response_parameters:
            if not context.is_active():
                return
            if parameters.interval_us > 0:
                time.sleep(parameters.interval_us / 1e6)
            yield pb.StreamingOutputCallResponse(payload=payload(parameters.size))

    def empty_call(self, _request, context):
        self.begin("EmptyCall", context)
        return pb.Empty()

    def unary_call(self, request, context):
        self.begin("UnaryCall", context)
        self.asked(request, context)
        return pb.SimpleResponse(payload=payload(request.response_size))

    def streaming_output_call(self, request, context):
        self.begin("StreamingOutputCall", context)
        yield from self.respond(request, context)
        self.asked(request, context)

    def streaming_input_call(self, requests, context):
        self.begin("StreamingInputCall", context)
        total = sum(len(request.payload.body) for request in requests)
        return pb.StreamingInputCallResponse(aggregated_payload_size=total)

    def full_duplex_call(self, requests, context):
        self.begin("FullDuplexCall", context)
        for request in requests:
            yield from self.respond(request, context)
            self.asked(request, context)

    def handlers(self):
        def handler(make, function, request, response):
            return make(function, request.FromString, response.SerializeToString)

        return grpc.method_handlers_generic_handler(SERVICE, {
            "EmptyCall": handler(grpc.unary_unary_rpc_method_handler, self.empty_call, pb.Empty, pb.Empty),
            "UnaryCall": handler(
                grpc.unary_unary_rpc_method_handler, self.unary_call, pb.SimpleRequest, pb.SimpleResponse),
            "StreamingOutputCall": handler(
                grpc.unary_stream_rpc_method_handler, self.streaming_output_call,
                pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse),
            "StreamingInputCall": handler(
                grpc.stream_unary_rpc_method_handler, self.streaming_input_call,
                pb.StreamingInputCallRequest, pb.StreamingInputCallResponse),
            "FullDuplexCall": handler(
                grpc.stream_stream_rpc_method_handler, self.full_duplex_call,
                pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse),
        })


def server(options):
    service = Service()
    extra = list(LIMITS)
    if options.max_connection_age_ms > 0:
        extra += [("grpc.max_connection_age_ms", options.max_connection_age_ms),
                  ("grpc.max_connection_age_grace_ms", 30_000)]
    engine = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=extra)
    engine.add_generic_rpc_handlers((service.handlers(),))
    port = engine.add_insecure_port(options.listen)
    engine.start()
    unix = options.listen.startswith("unix:")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    address = options.listen if unix else f"{options.listen.rpartition(':')[0]}:{port}"
    print(f"ready {address}", flush=True)
    while not stop.wait(3600):
        pass
    say({"handled": service.handled})
    os._exit(0)


# --- client ---------------------------------------------------------------------------------------


class Client:
    def __init__(self, options):
        self.options = options
        self.ok = 0
        self.channel = grpc.insecure_channel(options.target, options=LIMITS)

        def method(kind, name, request, response):
            return getattr(self.channel, kind)(
                f"/{SERVICE}/{name}", request_serializer=request.SerializeToString,
                response_deserializer=response.FromString)

        self.empty = method("unary_unary", "EmptyCall", pb.Empty, pb.Empty)
        self.unary = method("unary_unary", "UnaryCall", pb.SimpleRequest, pb.SimpleResponse)
        self.output = method("unary_stream", "StreamingOutputCall",
                             pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse)
        self.input = method("stream_unary", "StreamingInputCall",
                            pb.StreamingInputCallRequest, pb.StreamingInputCallResponse)
        self.duplex = method("stream_stream", "FullDuplexCall",
                             pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse)

    def streamed(self, n):
        options = self.options
        parameters = [pb.ResponseParameters(size=options.response_bytes, interval_us=options.interval_us)] * n
        return pb.StreamingOutputCallRequest(
            response_parameters=parameters, payload=payload(options.request_bytes))

    def perform(self, call, count):
        options = self.options
        if options.mode in ("unary", "deadline", "status"):
            request = pb.SimpleRequest(response_size=options.response_bytes, payload=payload(options.request_bytes))
            if options.mode == "status":
                request.response_status.code = options.status_code
                request.response_status.message = "as asked"
            count(len(self.unary(request, **call).payload.body))
        elif options.mode == "empty":
            self.empty(pb.Empty(), **call)
        elif options.mode == "client_stream":
            message = pb.StreamingInputCallRequest(payload=payload(options.request_bytes))
            self.input(itertools.repeat(message, options.messages), **call)
        elif options.mode in ("server_stream", "cancel"):
            stream = self.output(self.streamed(options.messages), **call)
            for response in stream:
                count(len(response.payload.body))
                if options.mode == "cancel":
                    stream.cancel()
        elif options.mode == "bidi":
            answered = threading.Semaphore(1)

            def requests():
                for _ in range(options.messages):
                    answered.acquire()
                    yield self.streamed(1)
                answered.acquire()

            try:
                for response in self.duplex(requests(), **call):
                    count(len(response.payload.body))
                    answered.release()
            finally:
                for _ in range(options.messages + 1):
                    answered.release()
        else:
            sys.exit(f"unknown mode {options.mode}")

    def call(self, identity):
        options = self.options
        call = {"metadata": [("x-call-id", identity), ("from", identity)] + [tuple(field.split(":", 1)) for field in options.header]}
        if options.deadline_ms > 0:
            call["timeout"] = options.deadline_ms / 1000
        got = []
        code, message = 0, ""
        try:
            self.perform(call, got.append)
        except grpc.RpcError as error:
            code, message = error.code().value[0], error.details()
        if code == 0:
            with OUTPUT:
                self.ok += 1
        say({"id": identity, "code": code, "message": message, "bytes": sum(got)})

    def calls(self, identities, think_ms):
        mutex = threading.Lock()

        def worker():
            while True:
                with mutex:
                    identity = next(identities, None)
                if identity is None:
                    return
                self.call(identity)
                if think_ms > 0:
                    time.sleep(think_ms / 1000)

        workers = [threading.Thread(target=worker) for _ in range(self.options.concurrency)]
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()


def client(options):
    # A thread a call in flight: 1000 of them want small stacks.
    threading.stack_size(256 * 1024)
    if options.mode == "deadline" and options.deadline_ms == 0:
        options.deadline_ms = 100
    peer = Client(options)
    peer.calls((f"{options.id_prefix}-warm-{i}" for i in range(options.warm)), 0)
    say({"ready": True})
    gone = threading.Event()
    made = options.warm

    def wait_go():
        if not sys.stdin.readline():
            sys.exit("stdin was closed before go")
        gone.set()

    def identities():
        nonlocal made
        while options.busy and not gone.is_set():
            made += 1
            yield f"{options.id_prefix}-warm-{made - 1}"
        for i in range(options.calls):
            yield f"{options.id_prefix}-{i}"

    if options.busy:
        threading.Thread(target=wait_go, daemon=True).start()
    elif options.wait_go:
        wait_go()
    peer.calls(identities(), options.think_ms)
    say({"done": True, "calls": options.calls + made, "ok": peer.ok})
    if options.linger:
        sys.stdin.read()
    peer.channel.close()


def main():
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    serving = roles.add_parser("server")
    serving.add_argument("--listen", default="127.0.0.1:0")
    serving.add_argument("--max-connection-age-ms", type=int, default=0)
    calling = roles.add_parser("client")
    calling.add_argument("--target", required=True)
    calling.add_argument("--mode", default="unary")
    for name, default in [("calls", 1), ("concurrency", 1), ("request-bytes", 0), ("response-bytes", 0),
                          ("messages", 1), ("interval-us", 0), ("think-ms", 0), ("deadline-ms", 0),
                          ("status-code", 9), ("warm", 0)]:
        calling.add_argument(f"--{name}", type=int, default=default)
    calling.add_argument("--id-prefix", default="c")
    calling.add_argument("--header", action="append", default=[])
    calling.add_argument("--wait-go", action="store_true")
    calling.add_argument("--busy", action="store_true")
    calling.add_argument("--linger", action="store_true")
    options = parser.parse_args()
    (server if options.role == "server" else client)(options)


main()
