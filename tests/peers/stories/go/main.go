// Encodes field lists with golang.org/x/net/http2/hpack. See ../../README.md.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// The largest table that the encoder is allowed.
const largestTable = 65536

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: stories LISTS STORIES")
	}
	folder := filepath.Join(os.Args[2], "go")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		log.Fatal(err)
	}
	lists, err := filepath.Glob(filepath.Join(os.Args[1], "*.txt"))
	if err != nil {
		log.Fatal(err)
	}
	for _, path := range lists {
		story, err := encode(path)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, filepath.Base(path)), story, 0o644)
		}
		if err != nil {
			log.Fatalf("%s: %v", path, err)
		}
	}
}

// encode reads a list and gives a line for each header block.
func encode(path string) ([]byte, error) {
	list, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer list.Close()
	var story, block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encoder.SetMaxDynamicTableSizeLimit(largestTable)
	lines := bufio.NewScanner(list)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		words := append(strings.Split(lines.Text(), " "), "", "")
		switch words[0] {
		case "table":
			size, err := strconv.ParseUint(words[1], 10, 32)
			if err != nil {
				return nil, err
			}
			encoder.SetMaxDynamicTableSize(uint32(size))
		case "field", "secret":
			name, err := hex.DecodeString(words[1])
			if err != nil {
				return nil, err
			}
			value, err := hex.DecodeString(words[2])
			if err != nil {
				return nil, err
			}
			field := hpack.HeaderField{Name: string(name), Value: string(value), Sensitive: words[0] == "secret"}
			if err := encoder.WriteField(field); err != nil {
				return nil, err
			}
		case "end":
			fmt.Fprintf(&story, "%x\n", block.Bytes())
			block.Reset()
		default:
			return nil, fmt.Errorf("what is %q?", words[0])
		}
	}
	return story.Bytes(), lines.Err()
}
