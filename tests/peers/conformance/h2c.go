package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	nethttp2c "golang.org/x/net/http2/h2c"
)

// h2c serves a page over HTTP/2 in clear text with golang.org/x/net/http2.
func h2c(arguments []string) error {
	flags := flag.NewFlagSet("h2c", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "host:port")
	flags.Parse(arguments)

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "served by golang.org/x/net/http2\n")
	})
	fmt.Println("ready", listener.Addr())
	return http.Serve(listener, nethttp2c.NewHandler(page, &http2.Server{}))
}
