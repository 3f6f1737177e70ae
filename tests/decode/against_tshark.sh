#!/usr/bin/env bash
# Holds `h2trace replay` against tshark on traffic of real peers, recorded here and now.
#
# Everything runs in a network namespace of its own. Needs root (or user namespaces), tcpdump, tshark,
# nghttpd, h2load, nghttp, curl and Python 3; says what is missing and stops with status 77 (skipped).
#
#   tests/decode/against_tshark.sh target/release/h2trace [CAPTURE PORT]
#
# With CAPTURE and PORT an existing file is compared instead of a new recording.
set -euo pipefail

h2trace=$(realpath "${1:?give the path of the h2trace binary}")
capture=${2:-}
port=${3:-8080}

for tool in tshark python3; do
    command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

record() {
    for tool in tcpdump nghttpd nghttp h2load curl unshare ip; do
        command -v "$tool" >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
    done
    export WORK=$work PORT=$port
    timeout 120 unshare -n bash -euo pipefail -c '
        ip link set lo up
        mkdir -p "$WORK/www"
        head -c 5000 /dev/urandom >"$WORK/www/a"
        head -c 300000 /dev/urandom >"$WORK/www/b"
        nghttpd --no-tls --trailer "checksum: 1" --push /a=/b -d "$WORK/www" "$PORT" >/dev/null 2>&1 &
        server=$!
        tcpdump -Z root -i lo -B 262144 --immediate-mode -U -s 0 -w "$WORK/recorded.pcap" \
            tcp port "$PORT" 2>"$WORK/tcpdump.log" &
        recorder=$!
        trap "kill $server $recorder 2>/dev/null || true" EXIT
        for _ in $(seq 100); do
            grep -q listening "$WORK/tcpdump.log" && break
            sleep 0.1
        done
        url=http://127.0.0.1:$PORT
        for _ in $(seq 50); do
            curl -s --http2-prior-knowledge "$url/a" -o /dev/null && break
            sleep 0.1
        done
        h2load -n 120 -c 4 -m 5 "$url/a" "$url/b" >/dev/null
        # Uploads, a request that is not found, server push, and a peer that asks for an upgrade in vain.
        h2load -n 20 -c 2 -m 5 -d "$WORK/www/b" "$url/a" >/dev/null
        curl -s --http2-prior-knowledge "$url/missing" -o /dev/null
        curl -s --http2 "$url/a" -o /dev/null || true
        nghttp -n "$url/a" >/dev/null
        # A client that cancels: RST_STREAM or a closed connection in the middle of the answer.
        curl -s --http2-prior-knowledge --max-filesize 1000 "$url/b" -o /dev/null || true
        nghttp -n --no-dep -w 10 --timeout=1 "$url/b" >/dev/null || true
        # The recorder is done when its file stops growing.
        before=-1
        while size=$(stat -c %s "$WORK/recorded.pcap"); [ "$size" != "$before" ]; do
            before=$size
            sleep 0.5
        done
        kill -INT "$recorder"
        wait "$recorder" || true
        cat "$WORK/tcpdump.log" >&2
    '
    capture=$work/recorded.pcap
}

[ -n "$capture" ] || record

"$h2trace" replay "$capture" --port "$port" --show frames,connections --output json >"$work/ours.jsonl"
tshark -r "$capture" -Y http2 -d "tcp.port==$port,http2" -T json -J "http2 tcp" --no-duplicate-keys \
    >"$work/theirs.json" 2>"$work/tshark.log" || { cat "$work/tshark.log"; exit 1; }

python3 - "$work" <<'PYTHON'
import collections, json, sys

work = sys.argv[1]
NAMES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
         "WINDOW_UPDATE", "CONTINUATION"]

ours = collections.Counter()
others = 0
for line in open(f"{work}/ours.jsonl"):
    line = json.loads(line)
    if line["type"] == "connection" and line["event"] == "seen" and line["protocol"] != "http2":
        others += 1
    if line["type"] != "frame":
        continue
    ours["frame", line["frame"]] += 1
    ours["frame", "CONTINUATION"] += line.get("continuations", 0)
    ours["length", line["frame"]] += line["length"]
    if "code" in line:
        ours["code", line["frame"], line["code"]] += 1
    if "error" in line:
        ours["error", line["error"]] += 1
    if line["frame"] == "HEADERS":
        ours["stream", line["conn"], line["stream_id"]] = 1

CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
         "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
         "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]

theirs = collections.Counter()


def streams_of(node):
    """Every http2.stream object below a layer, however tshark nests them."""
    if isinstance(node, list):
        for item in node:
            yield from streams_of(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "http2.stream":
                yield from (value if isinstance(value, list) else [value])
            else:
                yield from streams_of(value)


for packet in json.load(open(f"{work}/theirs.json")):
    layers = packet["_source"]["layers"]
    connection = layers.get("tcp", {})
    connection = connection[0] if isinstance(connection, list) else connection
    for frame in streams_of(layers.get("http2", {})):
        if not isinstance(frame, dict) or "http2.type" not in frame:
            continue
        number = int(frame["http2.type"], 0)
        name = NAMES[number] if number < len(NAMES) else "UNKNOWN"
        theirs["frame", name] += 1
        theirs["length", name] += int(frame["http2.length"])
        for key, kind in (("http2.rst_stream.error", "RST_STREAM"), ("http2.goaway.error", "GOAWAY")):
            if key in frame:
                theirs["code", kind, CODES[int(frame[key], 0)]] += 1
        if name == "HEADERS":
            theirs["stream", connection.get("tcp.stream"), int(frame["http2.streamid"])] = 1


def shown(counter):
    rows = {key: n for key, n in counter.items() if key[0] != "stream" and n}
    rows["streams", ""] = sum(1 for key in counter if key[0] == "stream")
    return rows


a, b = shown(ours), shown(theirs)
differ = 0
print(f"{'':40} {'h2trace':>12} {'tshark':>12}")
for key in sorted(set(a) | set(b), key=str):
    mark = "" if a.get(key, 0) == b.get(key, 0) else "  <- differs"
    # A server that is asked in vain for an upgrade says SETTINGS to an HTTP/1.1 client: no HTTP/2 connection.
    excused = others > 0 and key[1] == "SETTINGS" and a.get(key, 0) < b.get(key, 0)
    differ += bool(mark) and not excused
    print(f"{' '.join(key):40} {a.get(key, 0):12} {b.get(key, 0):12}{mark}")
print(f"connections that are not HTTP/2 for h2trace (tshark decodes their server's side all the same): {others}")
sys.exit(1 if differ else 0)
PYTHON
