"""Serialises frames of every type, flag and boundary with PyPI's hyperframe. See ../../README.md.

Writes JSON into the file that is named: of each case its octets, and the frames that a reader must find in them.
"""

import itertools
import json
import pathlib
import sys

from hyperframe import frame as h2

# RFC 9113 section 6, so that the flags that are expected are not hyperframe's.
FLAGS = {"ACK": 0x1, "END_STREAM": 0x1, "END_HEADERS": 0x4, "PADDED": 0x8, "PRIORITY": 0x20}
LARGEST_STREAM = 2**31 - 1
STREAMS = [1, 2, 255, 256, 65_535, LARGEST_STREAM]
# The most that may be sent without SETTINGS (section 4.2), and where a length takes another octet.
LENGTHS = [0, 1, 2, 255, 256, 257, 16_383, 16_384]
CODES = [*range(14), 255, 2**32 - 1]
# Entries of HPACK's static table, by their index octets.
FIELDS = {0x82: (":method", "GET"), 0x84: (":path", "/"), 0x86: (":scheme", "http"), 0x88: (":status", "200")}
FRAGMENTS = [b"", b"\x82", b"\x82\x86\x84", b"\x88" * 300]

cases = []


def octets(length):
    return bytes(n * 7 % 251 for n in range(length))


def subsets(flags):
    for count in range(len(flags) + 1):
        yield from itertools.combinations(flags, count)


def case(what, frames, *expected):
    wire = b"".join(frame.serialize() for frame in frames)
    cases.append({"what": what, "wire": wire.hex(), "frames": expected})


def expected(name, frame, flags, length, **more):
    number = sum(FLAGS[flag] for flag in flags)
    return {"frame": name, "stream": frame.stream_id, "flags": number, "length": length, **more}


def fields(fragment):
    return [FIELDS[octet] for octet in fragment]


def pads(flags):
    return [0, 1, 255] if "PADDED" in flags else [None]


def padding(pad):
    return {} if pad is None else {"pad_length": pad}


def data():
    for stream, length in [*((1, n) for n in LENGTHS), *((s, 3) for s in STREAMS)]:
        for flags, pad in ((f, p) for f in subsets(["END_STREAM", "PADDED"]) for p in pads(f)):
            whole = length if pad is None else length + 1 + pad
            if whole > 16_384:
                continue
            frame = h2.DataFrame(stream, octets(length), flags=flags, **padding(pad))
            want = expected("DATA", frame, [], whole, data=frame.data.hex())
            # A reader hands DATA on in pieces, and these flags of it.
            del want["flags"]
            want |= {"end_stream": "END_STREAM" in flags, "padded": pad is not None}
            case(f"DATA {stream} {length} {flags} {pad}", [frame], want)


def priorities(flags):
    if "PRIORITY" not in flags:
        return [None]
    values = itertools.product([0, 3, LARGEST_STREAM], [0, 15, 255], [False, True])
    return [{"depends_on": on, "stream_weight": weight, "exclusive": sole} for on, weight, sole in values]


def headers():
    for stream, fragment in [*((s, b"\x82") for s in STREAMS), *((1, f) for f in FRAGMENTS)]:
        for flags in subsets(["END_STREAM", "PADDED", "PRIORITY"]):
            for pad, priority in itertools.product(pads(flags), priorities(flags)):
                for continued in [False, True]:
                    header_block(stream, fragment, flags, pad, priority, continued)


def header_block(stream, fragment, flags, pad, priority, continued):
    """One block in one frame, or cut in the middle, with an empty CONTINUATION between its halves."""
    cut = len(fragment) // 2 if continued else len(fragment)
    flags = flags if continued else (*flags, "END_HEADERS")
    frame = h2.HeadersFrame(stream, fragment[:cut], flags=flags, **padding(pad), **(priority or {}))
    frames = [frame]
    if continued:
        frames.append(h2.ContinuationFrame(stream, b""))
        frames.append(h2.ContinuationFrame(stream, fragment[cut:], flags=["END_HEADERS"]))
    length = len(fragment) + (0 if pad is None else 1 + pad) + (5 if priority else 0)
    want = expected("HEADERS", frame, flags, length, fields=fields(fragment), n_frames=len(frames))
    want["priority"] = priority
    case(f"HEADERS {stream} {len(fragment)} {flags} {pad} {priority}", frames, want)


def push_promise():
    for stream, promised in [(1, 2), (LARGEST_STREAM, LARGEST_STREAM - 1), (3, 256)]:
        for fragment, padded, continued in itertools.product(FRAGMENTS, [[], ["PADDED"]], [False, True]):
            for pad in pads(padded):
                cut = len(fragment) // 2 if continued else len(fragment)
                flags = padded if continued else [*padded, "END_HEADERS"]
                frame = h2.PushPromiseFrame(stream, promised, fragment[:cut], flags=flags, **padding(pad))
                frames = [frame]
                if continued:
                    frames.append(h2.ContinuationFrame(stream, fragment[cut:], flags=["END_HEADERS"]))
                length = 4 + len(fragment) + (0 if pad is None else 1 + pad)
                want = expected("PUSH_PROMISE", frame, flags, length, promised=promised)
                want |= {"fields": fields(fragment), "n_frames": len(frames)}
                case(f"PUSH_PROMISE {stream} {promised} {len(fragment)} {flags} {pad}", frames, want)


def long_block():
    """HEADERS and CONTINUATION as long as they may be, round one field of 40,000 octets."""
    value = b"x" * 40_000
    fragment = b"\x00\x01a\x7f\xc1\xb7\x02" + value
    parts = [fragment[at : at + 16_384] for at in range(0, len(fragment), 16_384)]
    frames = [h2.HeadersFrame(5, parts[0])]
    frames += [h2.ContinuationFrame(5, part) for part in parts[1:]]
    frames[-1].flags.add("END_HEADERS")
    list_of_one = [("a", value.decode())]
    want = expected("HEADERS", frames[0], [], len(fragment), fields=list_of_one, n_frames=3, priority=None)
    case("HEADERS in three frames", frames, want)


def control():
    for stream in STREAMS:
        for priority in priorities(["PRIORITY"]):
            frame = h2.PriorityFrame(stream, **priority)
            case(f"PRIORITY {stream} {priority}", [frame], expected("PRIORITY", frame, [], 5, priority=priority))
    for stream, code in [*((1, c) for c in CODES), *((s, 8) for s in STREAMS)]:
        frame = h2.RstStreamFrame(stream, code)
        case(f"RST_STREAM {stream} {code}", [frame], expected("RST_STREAM", frame, [], 4, code=code))
    for increment in [1, 255, 65_535, 2**24, LARGEST_STREAM]:
        for stream in [0, *STREAMS]:
            frame = h2.WindowUpdateFrame(stream, increment)
            want = expected("WINDOW_UPDATE", frame, [], 4, increment=increment)
            case(f"WINDOW_UPDATE {stream} {increment}", [frame], want)
    for opaque, flags in itertools.product([bytes(8), b"\xff" * 8, b"12345678", octets(8)], subsets(["ACK"])):
        frame = h2.PingFrame(0, opaque, flags=flags)
        want = expected("PING", frame, flags, 8, data=opaque.hex(), ack="ACK" in flags)
        case(f"PING {opaque} {flags}", [frame], want)
    for last, code, debug in itertools.product([0, 1, LARGEST_STREAM], CODES, [b"", b"max_age", octets(64), octets(500)]):
        frame = h2.GoAwayFrame(0, last, code, debug)
        want = expected("GOAWAY", frame, [], 8 + len(debug), last_stream=last, code=code, debug=debug.hex())
        case(f"GOAWAY {last} {code} {len(debug)}", [frame], want)


def settings():
    lists = [
        {},
        {1: 0, 2: 0, 3: 0, 4: 0, 5: 16_384, 6: 0},
        {1: 2**32 - 1, 2: 1, 3: 2**32 - 1, 4: 2**31 - 1, 5: 2**24 - 1, 6: 2**32 - 1},
        # Not in the order of their identifiers; some that nobody knows (section 6.5.2). hyperframe writes of an
        # identifier the low octet alone.
        {6: 16_384, 4: 65_535, 0xF0: 7, 8: 1, 9: 1, 1: 4_096, 0xFF: 2**32 - 1},
        {n: n * n for n in range(10, 256)},
    ]
    for values in lists:
        frame = h2.SettingsFrame(0, settings=values)
        want = expected("SETTINGS", frame, [], 6 * len(values), settings=list(values.items()))
        case(f"SETTINGS {len(values)}", [frame], want)
    frame = h2.SettingsFrame(0, flags=["ACK"])
    case("SETTINGS ACK", [frame], expected("SETTINGS", frame, ["ACK"], 0, settings=None))


def extensions():
    frames = [h2.AltSvcFrame(0, b"https://example.com", b'h2=":8000"'), h2.AltSvcFrame(1, b"", b"clear")]
    for number, body in [(0x0B, b""), (0x0C, b"\0\0"), (0x42, octets(100)), (0xFF, octets(16_384))]:
        for stream in [0, 1, LARGEST_STREAM]:
            frame = h2.ExtensionFrame(number, stream, flag_byte=0xFF, body=body)
            # It is written as it is: hyperframe does not count.
            frame.body_len = len(body)
            frames.append(frame)
    for frame in frames:
        length = len(frame.serialize()) - 9
        want = expected("UNKNOWN", frame, [], length, type=frame.type)
        want["flags"] = getattr(frame, "flag_byte", 0)
        case(f"type {frame.type} {frame.stream_id} {length}", [frame], want)
    update = h2.ExtensionFrame(0x10, 0, body=b"\0\0\0\5u=1, i")
    update.body_len = len(update.body)
    want = expected("PRIORITY_UPDATE", update, [], update.body_len, prioritized=5)
    case("PRIORITY_UPDATE", [update], want)


for make in [data, headers, push_promise, long_block, control, settings, extensions]:
    make()
pathlib.Path(sys.argv[1]).write_text(json.dumps({"cases": cases}))
