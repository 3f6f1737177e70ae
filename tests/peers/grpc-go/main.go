// Command grpc-go is the grpc-go peer of h2trace's live tests: a server and a client of
// grpc.testing.TestService, and a reverse proxy. See ../README.md for its arguments.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: grpc-go server|client|proxy ...")
	}
	switch os.Args[1] {
	case "server":
		runServer(os.Args[2:])
	case "client":
		runClient(os.Args[2:])
	case "proxy":
		runProxy(os.Args[2:])
	default:
		fail("usage: grpc-go server|client|proxy ...")
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(2)
}
