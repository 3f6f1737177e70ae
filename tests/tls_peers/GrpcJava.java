import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ServerCalls;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.InputStream;
import java.net.InetSocketAddress;

/** A gRPC server on Netty, over TLS or in clear: GrpcJava PORT KEY CERTIFICATE JDK|OPENSSL; - and - for clear text. */
final class GrpcJava {
  private static final MethodDescriptor.Marshaller<byte[]> BYTES =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
          return new byte[0];
        }
      };

  public static void main(String[] arguments) throws Exception {
    MethodDescriptor<byte[], byte[]> method =
        MethodDescriptor.<byte[], byte[]>newBuilder(BYTES, BYTES)
            .setType(MethodDescriptor.MethodType.UNARY)
            .setFullMethodName("grpc.testing.TestService/EmptyCall")
            .build();
    ServerServiceDefinition service =
        ServerServiceDefinition.builder("grpc.testing.TestService")
            .addMethod(
                method,
                ServerCalls.asyncUnaryCall(
                    (request, out) -> {
                      out.onNext(new byte[0]);
                      out.onCompleted();
                    }))
            .build();
    NettyServerBuilder server =
        NettyServerBuilder.forAddress(
            new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    if (!arguments[1].equals("-")) {
      SslContextBuilder context =
          SslContextBuilder.forServer(new File(arguments[2]), new File(arguments[1]))
              .protocols("TLSv1.3", "TLSv1.2");
      server.sslContext(
          GrpcSslContexts.configure(context, SslProvider.valueOf(arguments[3])).build());
    }
    server.addService(service).build().start().awaitTermination();
  }
}
