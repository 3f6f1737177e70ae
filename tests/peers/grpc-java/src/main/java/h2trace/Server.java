package h2trace;

import com.google.protobuf.ByteString;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import io.grpc.testing.integration.EmptyProtos.Empty;
import io.grpc.testing.integration.Messages.EchoStatus;
import io.grpc.testing.integration.Messages.Payload;
import io.grpc.testing.integration.Messages.ResponseParameters;
import io.grpc.testing.integration.Messages.SimpleRequest;
import io.grpc.testing.integration.Messages.SimpleResponse;
import io.grpc.testing.integration.Messages.StreamingInputCallRequest;
import io.grpc.testing.integration.Messages.StreamingInputCallResponse;
import io.grpc.testing.integration.Messages.StreamingOutputCallRequest;
import io.grpc.testing.integration.Messages.StreamingOutputCallResponse;
import io.grpc.testing.integration.TestServiceGrpc;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.netty.channel.epoll.EpollServerSocketChannel;
import java.io.File;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** Server of grpc.testing.TestService on Netty's epoll transport; a thread a call in progress. */
final class Server extends TestServiceGrpc.TestServiceImplBase {
  private Server() {}

  private static final Metadata.Key<String> DELAY =
      Metadata.Key.of("x-delay-ms", Metadata.ASCII_STRING_MARSHALLER);

  static Payload payload(int size) {
    return Payload.newBuilder().setBody(ByteString.copyFrom(new byte[size])).build();
  }

  private static void sleep(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static Status asked(EchoStatus status) {
    return Status.fromCodeValue(status.getCode()).withDescription(status.getMessage());
  }

  /** Sends the messages asked for; false when the call is over. */
  private static boolean respond(
      StreamingOutputCallRequest request, ServerCallStreamObserver<StreamingOutputCallResponse> out) {
    for (ResponseParameters wanted : request.getResponseParametersList()) {
      if (wanted.getIntervalUs() > 0) {
        sleep(wanted.getIntervalUs() / 1000);
      }
      if (out.isCancelled()) {
        return false;
      }
      out.onNext(StreamingOutputCallResponse.newBuilder().setPayload(payload(wanted.getSize())).build());
    }
    if (request.getResponseStatus().getCode() != 0) {
      out.onError(asked(request.getResponseStatus()).asRuntimeException());
      return false;
    }
    return true;
  }

  @Override
  public void emptyCall(Empty request, StreamObserver<Empty> out) {
    out.onNext(Empty.getDefaultInstance());
    out.onCompleted();
  }

  @Override
  public void unaryCall(SimpleRequest request, StreamObserver<SimpleResponse> out) {
    if (((ServerCallStreamObserver<SimpleResponse>) out).isCancelled()) {
      return;
    }
    if (request.getResponseStatus().getCode() != 0) {
      out.onError(asked(request.getResponseStatus()).asRuntimeException());
      return;
    }
    out.onNext(SimpleResponse.newBuilder().setPayload(payload(request.getResponseSize())).build());
    out.onCompleted();
  }

  @Override
  public void streamingOutputCall(
      StreamingOutputCallRequest request, StreamObserver<StreamingOutputCallResponse> out) {
    if (respond(request, (ServerCallStreamObserver<StreamingOutputCallResponse>) out)) {
      out.onCompleted();
    }
  }

  @Override
  public StreamObserver<StreamingInputCallRequest> streamingInputCall(
      StreamObserver<StreamingInputCallResponse> out) {
    return new StreamObserver<>() {
      private int sum;

      @Override
      public void onNext(StreamingInputCallRequest request) {
        sum += request.getPayload().getBody().size();
      }

      @Override
      public void onError(Throwable ignored) {}

      @Override
      public void onCompleted() {
        out.onNext(StreamingInputCallResponse.newBuilder().setAggregatedPayloadSize(sum).build());
        out.onCompleted();
      }
    };
  }

  @Override
  public StreamObserver<StreamingOutputCallRequest> fullDuplexCall(
      StreamObserver<StreamingOutputCallResponse> out) {
    return new StreamObserver<>() {
      @Override
      public void onNext(StreamingOutputCallRequest request) {
        respond(request, (ServerCallStreamObserver<StreamingOutputCallResponse>) out);
      }

      @Override
      public void onError(Throwable ignored) {}

      @Override
      public void onCompleted() {
        out.onCompleted();
      }
    };
  }

  static void run(Options options) throws Exception {
    String listen = options.text("listen", "127.0.0.1:0");
    boolean unix = listen.startsWith("unix:");
    if (unix) {
      new File(listen.substring("unix:".length())).delete();
    }
    Map<String, Integer> handled = new TreeMap<>();
    ServerInterceptor begin = new ServerInterceptor() {
      @Override
      public <Q, R> ServerCall.Listener<Q> interceptCall(
          ServerCall<Q, R> call, Metadata metadata, ServerCallHandler<Q, R> next) {
        synchronized (handled) {
          handled.merge(call.getMethodDescriptor().getBareMethodName(), 1, Integer::sum);
        }
        String delay = metadata.get(DELAY);
        if (delay != null) {
          sleep(Long.parseLong(delay));
        }
        return next.startCall(call, metadata);
      }
    };
    EventLoopGroup acceptor = new EpollEventLoopGroup(1);
    EventLoopGroup workers = new EpollEventLoopGroup(2);
    NettyServerBuilder builder =
        NettyServerBuilder.forAddress(Options.address(listen), InsecureServerCredentials.create())
            .bossEventLoopGroup(acceptor)
            .workerEventLoopGroup(workers)
            .channelType(unix ? EpollServerDomainSocketChannel.class : EpollServerSocketChannel.class)
            .executor(Executors.newCachedThreadPool())
            .maxInboundMessageSize(64 << 20)
            .intercept(begin)
            .addService(new Server());
    int age = options.number("max-connection-age-ms", 0);
    if (age > 0) {
      builder.maxConnectionAge(age, TimeUnit.MILLISECONDS).maxConnectionAgeGrace(30, TimeUnit.SECONDS);
    }
    io.grpc.Server server = builder.build().start();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      StringBuilder line = new StringBuilder();
      synchronized (handled) {
        handled.forEach((method, n) ->
            line.append(line.length() == 0 ? "" : ",").append('"').append(method).append("\":").append(n));
      }
      System.out.println("{\"handled\":{" + line + "}}");
      System.out.flush();
      Runtime.getRuntime().halt(0);
    }));
    String address = unix ? listen : listen.replaceAll(":\\d+$", ":" + server.getPort());
    System.out.println("ready " + address);
    server.awaitTermination();
  }
}
