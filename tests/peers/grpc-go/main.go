// Command grpc-go is the grpc-go peer of h2trace's live tests: a server and a client of
// grpc.testing.TestService. See ../README.md for its arguments.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: grpc-go server|client ...")
	}
	switch os.Args[1] {
	case "server":
		runServer(os.Args[2:])
	case "client":
		runClient(os.Args[2:])
	default:
		fail("usage: grpc-go server|client ...")
	}
}

func fail(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", arguments...)
	os.Exit(2)
}
