//go:build tools

// The programs of gRPC's interoperability suite that are built as they are.
package main

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/http2"
	_ "google.golang.org/grpc/interop/server"
)
