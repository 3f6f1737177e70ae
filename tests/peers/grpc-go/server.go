package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type server struct {
	testpb.UnimplementedTestServiceServer
	mutex   sync.Mutex
	handled map[string]int
}

func (s *server) count(method string) {
	s.mutex.Lock()
	s.handled[method]++
	s.mutex.Unlock()
}

// header gives the first value of a metadata key, or "".
func header(ctx context.Context, key string) string {
	if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// delay waits as long as the call's metadata asks for, or until the call is over.
func delay(ctx context.Context) error {
	ms, err := strconv.Atoi(header(ctx, "x-delay-ms"))
	if err != nil || ms <= 0 {
		return nil
	}
	return pause(ctx, time.Duration(ms)*time.Millisecond)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func asked(echo *testpb.EchoStatus) error {
	if echo.GetCode() == 0 {
		return nil
	}
	return status.Error(codes.Code(echo.GetCode()), echo.GetMessage())
}

func payload(size int32) *testpb.Payload {
	return &testpb.Payload{Body: make([]byte, size)}
}

func (s *server) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	s.count("EmptyCall")
	if err := delay(ctx); err != nil {
		return nil, err
	}
	return &testpb.Empty{}, nil
}

func (s *server) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	s.count("UnaryCall")
	if err := delay(ctx); err != nil {
		return nil, err
	}
	if err := asked(in.GetResponseStatus()); err != nil {
		return nil, err
	}
	return &testpb.SimpleResponse{Payload: payload(in.GetResponseSize())}, nil
}

// respond sends the messages asked for. With `die` the process ends when half of them are out.
func respond(ctx context.Context, in *testpb.StreamingOutputCallRequest, die bool, send func(*testpb.StreamingOutputCallResponse) error) error {
	wanted := in.GetResponseParameters()
	for i, parameters := range wanted {
		if interval := parameters.GetIntervalUs(); interval > 0 {
			if err := pause(ctx, time.Duration(interval)*time.Microsecond); err != nil {
				return err
			}
		}
		if err := send(&testpb.StreamingOutputCallResponse{Payload: payload(parameters.GetSize())}); err != nil {
			return err
		}
		if die && i+1 >= (len(wanted)+1)/2 {
			// What was sent sits in the transport's queue; the client should get it before the process ends.
			time.Sleep(50 * time.Millisecond)
			os.Exit(1)
		}
	}
	return asked(in.GetResponseStatus())
}

func (s *server) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, stream testpb.TestService_StreamingOutputCallServer) error {
	s.count("StreamingOutputCall")
	ctx := stream.Context()
	if err := delay(ctx); err != nil {
		return err
	}
	return respond(ctx, in, header(ctx, "x-die") == "1", stream.Send)
}

func (s *server) StreamingInputCall(stream testpb.TestService_StreamingInputCallServer) error {
	s.count("StreamingInputCall")
	if err := delay(stream.Context()); err != nil {
		return err
	}
	sum := 0
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(in.GetPayload().GetBody())
	}
}

func (s *server) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	s.count("FullDuplexCall")
	ctx := stream.Context()
	if err := delay(ctx); err != nil {
		return err
	}
	die := header(ctx, "x-die") == "1"
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := respond(ctx, in, die, stream.Send); err != nil {
			return err
		}
	}
}

func runServer(arguments []string) {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "host:port or unix:path")
	age := flags.Int("max-connection-age-ms", 0, "drain connections with GOAWAY at this age; 0 never")
	key := flags.String("tls-key", "", "serve over TLS with this key")
	certificate := flags.String("tls-cert", "", "and this certificate")
	flags.Parse(arguments)

	network, address := "tcp", *listen
	if path, ok := strings.CutPrefix(*listen, "unix:"); ok {
		network, address = "unix", path
		os.Remove(path)
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		fail("cannot listen on %s: %v", *listen, err)
	}
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(64 << 20)}
	if *age > 0 {
		options = append(options, grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      time.Duration(*age) * time.Millisecond,
			MaxConnectionAgeGrace: 30 * time.Second,
		}))
	}
	if *key != "" {
		secured, err := credentials.NewServerTLSFromFile(*certificate, *key)
		if err != nil {
			fail("cannot serve over TLS: %v", err)
		}
		options = append(options, grpc.Creds(secured))
	}
	service := &server{handled: map[string]int{}}
	transport := grpc.NewServer(options...)
	testpb.RegisterTestServiceServer(transport, service)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		if err := transport.Serve(listener); err != nil {
			fail("cannot serve: %v", err)
		}
	}()
	shown := listener.Addr().String()
	if network == "unix" {
		shown = "unix:" + address
	}
	fmt.Printf("ready %s\n", shown)
	<-stop
	service.mutex.Lock()
	line, _ := json.Marshal(map[string]any{"handled": service.handled})
	fmt.Println(string(line))
	os.Exit(0)
}
