package h2trace;

import io.grpc.ClientInterceptor;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import io.grpc.testing.integration.EmptyProtos.Empty;
import io.grpc.testing.integration.Messages.EchoStatus;
import io.grpc.testing.integration.Messages.ResponseParameters;
import io.grpc.testing.integration.Messages.SimpleRequest;
import io.grpc.testing.integration.Messages.SimpleResponse;
import io.grpc.testing.integration.Messages.StreamingInputCallRequest;
import io.grpc.testing.integration.Messages.StreamingOutputCallRequest;
import io.grpc.testing.integration.Messages.StreamingOutputCallResponse;
import io.grpc.testing.integration.TestServiceGrpc;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollSocketChannel;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

/** Client of grpc.testing.TestService; a thread a call in flight. */
final class Client {
  private final Options options;
  private final String mode;
  private final TestServiceGrpc.TestServiceStub stub;
  private final AtomicInteger ok = new AtomicInteger();

  private Client(Options options, ManagedChannel channel) {
    this.options = options;
    this.mode = options.text("mode", "unary");
    this.stub = TestServiceGrpc.newStub(channel);
  }

  private static synchronized void say(String line) {
    System.out.println(line);
    System.out.flush();
  }

  private static String quoted(String text) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < ' ') {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }

  /** Counts what comes and keeps how it ended. */
  private final class Answer<Q, R> implements ClientResponseObserver<Q, R> {
    final CompletableFuture<Status> end = new CompletableFuture<>();
    final AtomicInteger bytes = new AtomicInteger();
    Runnable onMessage = () -> {};
    private ClientCallStreamObserver<Q> call;

    @Override
    public void beforeStart(ClientCallStreamObserver<Q> requests) {
      call = requests;
    }

    @Override
    public void onNext(R response) {
      if (response instanceof SimpleResponse simple) {
        bytes.addAndGet(simple.getPayload().getBody().size());
      } else if (response instanceof StreamingOutputCallResponse streamed) {
        bytes.addAndGet(streamed.getPayload().getBody().size());
      }
      if (mode.equals("cancel")) {
        call.cancel("cancelled by the test", null);
      }
      onMessage.run();
    }

    @Override
    public void onError(Throwable failure) {
      end.complete(Status.fromThrowable(failure));
    }

    @Override
    public void onCompleted() {
      end.complete(Status.OK);
    }
  }

  private StreamingOutputCallRequest streamed(int n) {
    StreamingOutputCallRequest.Builder request =
        StreamingOutputCallRequest.newBuilder().setPayload(Server.payload(options.number("request-bytes", 0)));
    for (int i = 0; i < n; i++) {
      request.addResponseParameters(ResponseParameters.newBuilder()
          .setSize(options.number("response-bytes", 0))
          .setIntervalUs(options.number("interval-us", 0)));
    }
    return request.build();
  }

  private Answer<?, ?> perform(TestServiceGrpc.TestServiceStub call) {
    int requestBytes = options.number("request-bytes", 0);
    int messages = options.number("messages", 1);
    switch (mode) {
      case "unary", "deadline", "status" -> {
        SimpleRequest.Builder request = SimpleRequest.newBuilder()
            .setResponseSize(options.number("response-bytes", 0))
            .setPayload(Server.payload(requestBytes));
        if (mode.equals("status")) {
          request.setResponseStatus(EchoStatus.newBuilder()
              .setCode(options.number("status-code", 9)).setMessage("as asked"));
        }
        var answer = new Answer<SimpleRequest, SimpleResponse>();
        call.unaryCall(request.build(), answer);
        return answer;
      }
      case "empty" -> {
        var answer = new Answer<Empty, Empty>();
        call.emptyCall(Empty.getDefaultInstance(), answer);
        return answer;
      }
      case "client_stream" -> {
        var answer = new Answer<StreamingInputCallRequest,
            io.grpc.testing.integration.Messages.StreamingInputCallResponse>();
        var requests = call.streamingInputCall(answer);
        for (int i = 0; i < messages; i++) {
          requests.onNext(StreamingInputCallRequest.newBuilder().setPayload(Server.payload(requestBytes)).build());
        }
        requests.onCompleted();
        return answer;
      }
      case "server_stream", "cancel" -> {
        var answer = new Answer<StreamingOutputCallRequest, StreamingOutputCallResponse>();
        call.streamingOutputCall(streamed(messages), answer);
        return answer;
      }
      case "bidi" -> {
        var answer = new Answer<StreamingOutputCallRequest, StreamingOutputCallResponse>();
        AtomicInteger left = new AtomicInteger(messages);
        List<StreamObserver<StreamingOutputCallRequest>> requests = new ArrayList<>();
        answer.onMessage = () -> {
          int before = left.getAndDecrement();
          if (before > 0) {
            requests.get(0).onNext(streamed(1));
          } else if (before == 0) {
            requests.get(0).onCompleted();
          }
        };
        requests.add(call.fullDuplexCall(answer));
        answer.onMessage.run();
        return answer;
      }
      default -> throw new IllegalArgumentException("unknown mode " + mode);
    }
  }

  private void call(String id) {
    Metadata metadata = new Metadata();
    for (String name : List.of("x-call-id", "from")) {
      metadata.put(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER), id);
    }
    for (String[] field : options.headers) {
      metadata.put(Metadata.Key.of(field[0], Metadata.ASCII_STRING_MARSHALLER), field[1]);
    }
    ClientInterceptor attach = MetadataUtils.newAttachHeadersInterceptor(metadata);
    TestServiceGrpc.TestServiceStub call = stub.withInterceptors(attach);
    int deadline = options.number("deadline-ms", mode.equals("deadline") ? 100 : 0);
    if (deadline > 0) {
      call = call.withDeadlineAfter(deadline, TimeUnit.MILLISECONDS);
    }
    Answer<?, ?> answer = perform(call);
    Status status = answer.end.join();
    if (status.isOk()) {
      ok.incrementAndGet();
    }
    String message = status.getDescription() == null ? "" : status.getDescription();
    say("{\"id\":" + quoted(id) + ",\"code\":" + status.getCode().value()
        + ",\"message\":" + quoted(message) + ",\"bytes\":" + answer.bytes.get() + "}");
  }

  /** Ids prefix-0 to prefix-(n-1), then null. */
  private static Supplier<String> numbered(String prefix, int n) {
    AtomicInteger next = new AtomicInteger();
    return () -> {
      int i = next.getAndIncrement();
      return i < n ? prefix + "-" + i : null;
    };
  }

  private void calls(Supplier<String> next, int thinkMs) throws InterruptedException {
    List<Thread> workers = new ArrayList<>();
    for (int i = 0; i < options.number("concurrency", 1); i++) {
      Thread worker = new Thread(null, () -> {
        for (String id = next.get(); id != null; id = next.get()) {
          call(id);
          try {
            Thread.sleep(thinkMs);
          } catch (InterruptedException e) {
            return;
          }
        }
      }, "worker", 256 * 1024);
      worker.start();
      workers.add(worker);
    }
    for (Thread worker : workers) {
      worker.join();
    }
  }

  private static void awaitGo(BufferedReader input) {
    try {
      if (input.readLine() != null) {
        return;
      }
    } catch (IOException ignored) {
      // As good as closed.
    }
    System.err.println("stdin was closed before go");
    Runtime.getRuntime().halt(2);
  }

  static void run(Options options) throws Exception {
    String target = options.text("target", "");
    boolean unix = target.startsWith("unix:");
    EpollEventLoopGroup loops = new EpollEventLoopGroup(2);
    NettyChannelBuilder builder =
        NettyChannelBuilder.forAddress(Options.address(target), InsecureChannelCredentials.create())
            .eventLoopGroup(loops)
            .channelType(unix ? EpollDomainSocketChannel.class : EpollSocketChannel.class)
            .maxInboundMessageSize(64 << 20);
    if (unix) {
      builder.overrideAuthority("localhost");
    }
    ManagedChannel channel = builder.build();
    Client client = new Client(options, channel);
    String prefix = options.text("id-prefix", "c");
    int warm = options.number("warm", 0);
    client.calls(numbered(prefix + "-warm", warm), 0);
    say("{\"ready\":true}");
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    int calls = options.number("calls", 1);
    Supplier<String> counted = numbered(prefix, calls);
    AtomicInteger warmed = new AtomicInteger(warm);
    AtomicBoolean gone = new AtomicBoolean(!options.has("busy"));
    if (options.has("busy")) {
      Thread reader = new Thread(() -> {
        awaitGo(input);
        gone.set(true);
      });
      reader.setDaemon(true);
      reader.start();
    } else if (options.has("wait-go")) {
      awaitGo(input);
    }
    client.calls(
        () -> gone.get() ? counted.get() : prefix + "-warm-" + warmed.getAndIncrement(),
        options.number("think-ms", 0));
    say("{\"done\":true,\"calls\":" + (calls + warmed.get()) + ",\"ok\":" + client.ok.get() + "}");
    if (options.has("linger")) {
      while (input.readLine() != null) {}
    }
    channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    System.exit(0);
  }
}
