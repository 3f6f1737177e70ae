package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// One case of the suite, and the connection that it was run on.
type result struct {
	ID string `json:"id"`
	// What the case does.
	What string `json:"what"`
	// The client's port: what tells the connections apart.
	Port int `json:"port"`
	// The server did as the suite asks; null when the case was skipped.
	Passed *bool `json:"passed"`
	// What the server did instead.
	Actual string `json:"actual,omitempty"`
}

// h2spec runs the suite's own cases, strict ones too, each on a connection of its own whose port it prints.
func h2spec(arguments []string) error {
	flags := flag.NewFlagSet("h2spec", flag.ExitOnError)
	port := flags.Int("port", 0, "loopback port of the server")
	timeout := flags.Duration("timeout", time.Second, "how long a case waits for the server")
	only := flags.String("only", "", "only the cases with these ids, separated by commas")
	flags.Parse(arguments)

	c := &config.Config{Host: "127.0.0.1", Port: *port, Path: "/", Timeout: *timeout, MaxHeaderLen: 4000, Strict: true}
	wanted := map[string]bool{}
	for _, id := range strings.Split(*only, ",") {
		wanted[id] = true
	}
	output := json.NewEncoder(os.Stdout)
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		err := each(group, func(id string, test *spec.TestCase) error {
			if *only != "" && !wanted[id] {
				return nil
			}
			return run(c, id, test, output)
		})
		if err != nil {
			return err
		}
	}
	return output.Encode(map[string]bool{"done": true})
}

// each visits the cases below a group, in the suite's order.
func each(group *spec.TestGroup, visit func(string, *spec.TestCase) error) error {
	for i, test := range append(group.Tests, group.StrictTests...) {
		if err := visit(fmt.Sprintf("%s/%d", group.ID(), i+1), test); err != nil {
			return err
		}
	}
	for _, below := range group.Groups {
		if err := each(below, visit); err != nil {
			return err
		}
	}
	return nil
}

func run(c *config.Config, id string, test *spec.TestCase, output *json.Encoder) error {
	conn, err := spec.Dial(c)
	if err != nil {
		return fmt.Errorf("case %s: %w", id, err)
	}
	defer conn.Close()
	done := result{ID: id, What: test.Desc, Port: conn.LocalAddr().(*net.TCPAddr).Port}
	err = test.Run(c, conn)
	var failed *spec.TestError
	switch passed := err == nil; {
	case errors.Is(err, spec.ErrSkipped):
	case errors.As(err, &failed):
		done.Passed, done.Actual = &passed, failed.Actual
	case err != nil:
		done.Passed, done.Actual = &passed, err.Error()
	default:
		done.Passed = &passed
	}
	return output.Encode(done)
}
