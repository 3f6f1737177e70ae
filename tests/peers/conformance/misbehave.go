package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// misbehave is the server of gRPC's negative HTTP/2 interoperability cases: doc/negative-http2-interop-test-descriptions.md
// of grpc/grpc, whose own server is Python's.
func misbehave(arguments []string) error {
	flags := flag.NewFlagSet("misbehave", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "host:port")
	name := flags.String("case", "", "goaway, rst_after_header, rst_during_data, rst_after_data, ping or max_streams")
	flags.Parse(arguments)

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Println("ready", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := newPeer(conn, *name).serve(); err != nil && !errors.Is(err, io.EOF) {
				fmt.Println("connection:", err)
			}
		}()
	}
}

// peer is one connection.
type peer struct {
	conn   net.Conn
	framer *http2.Framer
	name   string

	mu sync.Mutex
	// A window changed, or the connection ended.
	changed *sync.Cond
	// What may be sent: on the connection (0) and by stream.
	windows map[uint32]int64
	initial int64
	ended   bool

	writing sync.Mutex
	encoded bytes.Buffer
	encoder *hpack.Encoder
	pings   byte
}

func newPeer(conn net.Conn, name string) *peer {
	p := &peer{conn: conn, framer: http2.NewFramer(conn, conn), name: name, initial: 65535, windows: map[uint32]int64{0: 65535}}
	p.changed = sync.NewCond(&p.mu)
	p.encoder = hpack.NewEncoder(&p.encoded)
	return p
}

func (p *peer) serve() error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p.conn, preface); err != nil {
		return err
	}
	defer p.end()
	settings := []http2.Setting{}
	if p.name == "max_streams" {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
	}
	if err := p.framer.WriteSettings(settings...); err != nil {
		return err
	}
	bodies := map[uint32]*bytes.Buffer{}
	for {
		frame, err := p.framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			err = p.settings(f)
		case *http2.WindowUpdateFrame:
			p.mu.Lock()
			p.windows[f.StreamID] += int64(f.Increment)
			p.mu.Unlock()
			p.changed.Broadcast()
		case *http2.PingFrame:
			if !f.IsAck() {
				err = p.write(func() error { return p.framer.WritePing(true, f.Data) })
			}
		case *http2.HeadersFrame:
			bodies[f.StreamID] = &bytes.Buffer{}
			p.mu.Lock()
			p.windows[f.StreamID] += p.initial
			p.mu.Unlock()
		case *http2.DataFrame:
			body := bodies[f.StreamID]
			if body == nil {
				continue
			}
			body.Write(f.Data())
			if n := uint32(len(f.Data())); n > 0 {
				err = p.write(func() error {
					return errors.Join(p.framer.WriteWindowUpdate(0, n), p.framer.WriteWindowUpdate(f.StreamID, n))
				})
			}
			if f.StreamEnded() {
				delete(bodies, f.StreamID)
				go p.answer(f.StreamID, body.Bytes())
			}
		case *http2.GoAwayFrame:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *peer) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if value, there := f.Value(http2.SettingInitialWindowSize); there {
		p.mu.Lock()
		for id := range p.windows {
			if id != 0 {
				p.windows[id] += int64(value) - p.initial
			}
		}
		p.initial = int64(value)
		p.mu.Unlock()
		p.changed.Broadcast()
	}
	return p.write(p.framer.WriteSettingsAck)
}

func (p *peer) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.changed.Broadcast()
}

// write does one thing between others' frames; in the case of PINGs with one before and one behind it.
func (p *peer) write(what func() error) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return errors.Join(p.ping(), what(), p.ping())
}

func (p *peer) ping() error {
	if p.name != "ping" {
		return nil
	}
	p.pings++
	return p.framer.WritePing(false, [8]byte{p.pings})
}

// answer says what the case says to the request on a stream.
func (p *peer) answer(id uint32, body []byte) {
	message, err := response(body)
	if err != nil {
		fmt.Println("request:", err)
		return
	}
	p.headers(id, false, ":status", "200", "content-type", "application/grpc")
	switch p.name {
	case "rst_after_header":
		p.reset(id)
		return
	case "rst_during_data":
		p.data(id, message[:len(message)/2])
		p.reset(id)
		return
	case "rst_after_data":
		p.data(id, message)
		p.reset(id)
		return
	}
	p.data(id, message)
	p.headers(id, true, "grpc-status", "0")
	if p.name == "goaway" {
		p.write(func() error { return p.framer.WriteGoAway(id, http2.ErrCodeNo, nil) })
	}
}

// response is the length-prefixed message that a length-prefixed SimpleRequest asks for.
func response(body []byte) ([]byte, error) {
	if len(body) < 5 {
		return nil, errors.New("a request without a message")
	}
	var request testpb.SimpleRequest
	if err := proto.Unmarshal(body[5:], &request); err != nil {
		return nil, err
	}
	payload := &testpb.Payload{Type: request.ResponseType, Body: make([]byte, request.ResponseSize)}
	message, err := proto.Marshal(&testpb.SimpleResponse{Payload: payload})
	if err != nil {
		return nil, err
	}
	prefix := make([]byte, 5)
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(message)))
	return append(prefix, message...), nil
}

func (p *peer) headers(id uint32, end bool, fields ...string) {
	p.write(func() error {
		p.encoded.Reset()
		for i := 0; i+1 < len(fields); i += 2 {
			p.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		block := http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encoded.Bytes(), EndHeaders: true, EndStream: end}
		return p.framer.WriteHeaders(block)
	})
}

func (p *peer) reset(id uint32) {
	p.write(func() error { return p.framer.WriteRSTStream(id, http2.ErrCodeNo) })
}

// data sends all of it, as the windows allow.
func (p *peer) data(id uint32, all []byte) {
	for len(all) > 0 {
		n := p.take(id, int64(min(len(all), 16384)))
		if n == 0 {
			return
		}
		p.write(func() error { return p.framer.WriteData(id, false, all[:n]) })
		all = all[n:]
	}
}

// take waits until something may be sent, and takes up to so much of it; 0 when the connection has ended.
func (p *peer) take(id uint32, wanted int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended && (p.windows[0] <= 0 || p.windows[id] <= 0) {
		p.changed.Wait()
	}
	if p.ended {
		return 0
	}
	n := min(wanted, p.windows[0], p.windows[id])
	p.windows[0] -= n
	p.windows[id] -= n
	return n
}
