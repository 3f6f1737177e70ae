// Conformance suites, for traffic that is wrong on purpose and whose author is known (see tests/peers/README.md).
package main

import (
	"fmt"
	"os"
)

func main() {
	modes := map[string]func([]string) error{
		"h2spec":    h2spec,
		"h2c":       h2c,
		"misbehave": misbehave,
	}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fail("usage: conformance h2spec|h2c|misbehave [OPTION...]")
	}
	if err := modes[os.Args[1]](os.Args[2:]); err != nil {
		fail(err.Error())
	}
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, "error:", why)
	os.Exit(1)
}
