package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type headers [][2]string

func (h *headers) String() string { return "" }

func (h *headers) Set(field string) error {
	name, value, found := strings.Cut(field, ":")
	if !found {
		return errors.New("wanted NAME:VALUE")
	}
	*h = append(*h, [2]string{name, value})
	return nil
}

type client struct {
	stub       testpb.TestServiceClient
	mode       string
	request    int
	response   int
	messages   int
	intervalUs int
	deadline   time.Duration
	statusCode int
	extra      headers
	output     sync.Mutex
	writer     *bufio.Writer
	ok         atomic.Int64
}

func (c *client) say(line any) {
	encoded, _ := json.Marshal(line)
	c.output.Lock()
	c.writer.Write(append(encoded, '\n'))
	c.writer.Flush()
	c.output.Unlock()
}

func (c *client) body() *testpb.Payload {
	return &testpb.Payload{Body: make([]byte, c.request)}
}

func (c *client) parameters(n int) []*testpb.ResponseParameters {
	all := make([]*testpb.ResponseParameters, n)
	for i := range all {
		all[i] = &testpb.ResponseParameters{Size: int32(c.response), IntervalUs: int32(c.intervalUs)}
	}
	return all
}

// perform makes one call and returns the response payload bytes.
func (c *client) perform(ctx context.Context, cancel context.CancelFunc) (int, error) {
	switch c.mode {
	case "unary", "deadline", "status":
		in := &testpb.SimpleRequest{ResponseSize: int32(c.response), Payload: c.body()}
		if c.mode == "status" {
			in.ResponseStatus = &testpb.EchoStatus{Code: int32(c.statusCode), Message: "as asked"}
		}
		out, err := c.stub.UnaryCall(ctx, in)
		return len(out.GetPayload().GetBody()), err
	case "empty":
		_, err := c.stub.EmptyCall(ctx, &testpb.Empty{})
		return 0, err
	case "client_stream":
		stream, err := c.stub.StreamingInputCall(ctx)
		if err != nil {
			return 0, err
		}
		for range c.messages {
			// The reason of a failed send is what the receive says.
			if stream.Send(&testpb.StreamingInputCallRequest{Payload: c.body()}) != nil {
				break
			}
		}
		_, err = stream.CloseAndRecv()
		return 0, err
	case "server_stream", "cancel":
		stream, err := c.stub.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{
			ResponseParameters: c.parameters(c.messages), Payload: c.body(),
		})
		if err != nil {
			return 0, err
		}
		got := 0
		for {
			out, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return got, nil
			}
			if err != nil {
				return got, err
			}
			got += len(out.GetPayload().GetBody())
			if c.mode == "cancel" {
				cancel()
			}
		}
	case "bidi":
		stream, err := c.stub.FullDuplexCall(ctx)
		if err != nil {
			return 0, err
		}
		got := 0
		for range c.messages {
			if stream.Send(&testpb.StreamingOutputCallRequest{ResponseParameters: c.parameters(1), Payload: c.body()}) != nil {
				break
			}
			out, err := stream.Recv()
			if err != nil {
				return got, err
			}
			got += len(out.GetPayload().GetBody())
		}
		stream.CloseSend()
		_, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return got, err
	}
	fail("unknown mode %q", c.mode)
	return 0, nil
}

func (c *client) call(id string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.deadline > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, c.deadline)
		defer end()
	}
	pairs := []string{"x-call-id", id, "from", id}
	for _, field := range c.extra {
		pairs = append(pairs, field[0], field[1])
	}
	got, err := c.perform(metadata.AppendToOutgoingContext(ctx, pairs...), cancel)
	if err == nil {
		c.ok.Add(1)
	}
	state := status.Convert(err)
	c.say(map[string]any{"id": id, "code": int(state.Code()), "message": state.Message(), "bytes": got})
}

// numbered gives the ids prefix-0 to prefix-(n-1), then none.
func numbered(prefix string, n int) func() (string, bool) {
	var next atomic.Int64
	return func() (string, bool) {
		i := next.Add(1) - 1
		return fmt.Sprintf("%s-%d", prefix, i), i < int64(n)
	}
}

// calls makes a call for each id, `concurrency` at a time.
func (c *client) calls(next func() (string, bool), concurrency int, think time.Duration) {
	var workers sync.WaitGroup
	for range concurrency {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for {
				id, more := next()
				if !more {
					return
				}
				c.call(id)
				time.Sleep(think)
			}
		}()
	}
	workers.Wait()
}

func runClient(arguments []string) {
	c := &client{writer: bufio.NewWriter(os.Stdout)}
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	target := flags.String("target", "", "host:port or unix:path")
	flags.StringVar(&c.mode, "mode", "unary", "kind of call")
	calls := flags.Int("calls", 1, "calls to make")
	concurrency := flags.Int("concurrency", 1, "calls in flight")
	flags.IntVar(&c.request, "request-bytes", 0, "payload of a request message")
	flags.IntVar(&c.response, "response-bytes", 0, "payload of a response message")
	flags.IntVar(&c.messages, "messages", 1, "messages of a streaming direction")
	flags.IntVar(&c.intervalUs, "interval-us", 0, "pause before each streamed message")
	think := flags.Int("think-ms", 0, "pause after each call")
	prefix := flags.String("id-prefix", "c", "prefix of x-call-id")
	flags.Var(&c.extra, "header", "NAME:VALUE")
	deadline := flags.Int("deadline-ms", 0, "deadline of every call")
	flags.IntVar(&c.statusCode, "status-code", 9, "status asked for")
	warm := flags.Int("warm", 0, "calls before go")
	waitGo := flags.Bool("wait-go", false, "wait for go on stdin")
	busy := flags.Bool("busy", false, "make calls until go")
	linger := flags.Bool("linger", false, "keep the channel until stdin is closed")
	flags.Parse(arguments)
	if c.mode == "deadline" && *deadline == 0 {
		*deadline = 100
	}
	c.deadline = time.Duration(*deadline) * time.Millisecond

	// "passthrough" would hand unix:path to the dialer as it is; grpc-go resolves unix: itself.
	address := *target
	if !strings.HasPrefix(address, "unix:") {
		address = "passthrough:///" + address
	}
	channel, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		fail("cannot make a channel to %s: %v", *target, err)
	}
	c.stub = testpb.NewTestServiceClient(channel)

	c.calls(numbered(*prefix+"-warm", *warm), *concurrency, 0)
	c.say(map[string]any{"ready": true})
	input := bufio.NewReader(os.Stdin)
	awaitGo := func() {
		if _, err := input.ReadString('\n'); err != nil {
			fail("stdin was closed before go")
		}
	}
	next := numbered(*prefix, *calls)
	made := *calls + *warm
	if *busy {
		var gone atomic.Bool
		go func() {
			awaitGo()
			gone.Store(true)
		}()
		var warmed atomic.Int64
		warmed.Store(int64(*warm))
		counted := next
		next = func() (string, bool) {
			if gone.Load() {
				return counted()
			}
			return fmt.Sprintf("%s-warm-%d", *prefix, warmed.Add(1)-1), true
		}
		c.calls(next, *concurrency, time.Duration(*think)*time.Millisecond)
		made = *calls + int(warmed.Load())
	} else {
		if *waitGo {
			awaitGo()
		}
		c.calls(next, *concurrency, time.Duration(*think)*time.Millisecond)
	}
	c.say(map[string]any{"done": true, "calls": made, "ok": c.ok.Load()})
	if *linger {
		io.Copy(io.Discard, input)
	}
}
