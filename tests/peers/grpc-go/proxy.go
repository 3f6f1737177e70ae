package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
)

// runProxy passes every request on to one server, as people do it with the standard library: HTTP/2 in clear text on
// both sides, one connection to the server.
func runProxy(arguments []string) {
	flags := flag.NewFlagSet("proxy", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "host:port")
	upstream := flags.String("upstream", "", "host:port")
	flags.Parse(arguments)

	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Protocols: protocols,
		Handler: &httputil.ReverseProxy{
			Rewrite: func(request *httputil.ProxyRequest) {
				request.SetURL(&url.URL{Scheme: "http", Host: *upstream})
			},
			Transport:     &http.Transport{Protocols: protocols},
			FlushInterval: -1,
		},
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fail("%v", err)
	}
	fmt.Printf("ready %s\n", listener.Addr())
	fail("%v", server.Serve(listener))
}
