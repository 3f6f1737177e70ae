//! What gRPC and browsers send.

use super::{BASE64, Block, HEX, Numbers, block, field, request, secret};

pub(super) fn grpc_requests() -> Vec<Block> {
    let mut numbers = Numbers(1);
    let one = |n: usize| {
        let method = ["UnaryCall", "EmptyCall", "FullDuplexCall"][n % 3];
        let path = format!("/grpc.testing.TestService/{method}");
        let agent = ["grpc-go/1.85.0", "grpc-node-js/1.14.7"][n / 8 % 2];
        let mut fields = request("POST", "orders.shop.svc.cluster.local:50051", &path);
        fields.extend([
            field("te", "trailers"),
            field("content-type", "application/grpc"),
            field("user-agent", agent),
            field("grpc-accept-encoding", "identity,deflate,gzip"),
            field("x-call-id", format!("c-{n}")),
        ]);
        if n.is_multiple_of(2) {
            fields.push(field("grpc-timeout", format!("{}m", 100 + n)));
        }
        let (trace, span) = (numbers.text(HEX, 32), numbers.text(HEX, 16));
        fields.push(field("traceparent", format!("00-{trace}-{span}-01")));
        if n % 4 == 3 {
            let bytes = numbers.text(BASE64, 24 + n);
            fields.push(field("grpc-trace-bin", &bytes));
            fields.push(field("x-state-bin", format!("{bytes}==")));
        }
        block(fields)
    };
    (0..24).map(one).collect()
}

/// Responses, and the trailers that end them, by turns.
pub(super) fn grpc_responses() -> Vec<Block> {
    let mut numbers = Numbers(2);
    let messages = [
        "",
        "deadline exceeded",
        "caf%C3%A9: %E4%B8%8D%E8%B6%B3",
        "upstream connect error or disconnect/reset before headers",
    ];
    let mut blocks = Vec::new();
    for n in 0..17 {
        let date = format!("Sat, 28 Nov 2026 10:{:02}:{n:02} GMT", n / 3);
        blocks.push(block(vec![
            field(":status", "200"),
            field("content-type", "application/grpc"),
            field("grpc-encoding", ["identity", "gzip"][n % 2]),
            field("grpc-accept-encoding", "gzip,identity"),
            field("date", date),
            field("server", "envoy"),
            field("x-envoy-upstream-service-time", format!("{}", n * n)),
        ]));
        let mut trailers = vec![
            field("grpc-status", format!("{n}")),
            field("grpc-message", messages[n % messages.len()]),
        ];
        if n % 3 == 2 {
            let details = numbers.text(BASE64, 40 * n);
            trailers.push(field("grpc-status-details-bin", details));
        }
        blocks.push(block(trailers));
    }
    // Trailers alone.
    blocks.push(block(vec![
        field(":status", "200"),
        field("content-type", "application/grpc"),
        field("grpc-status", "12"),
        field("grpc-message", "unknown method"),
    ]));
    blocks
}

pub(super) fn browser_requests() -> Vec<Block> {
    let mut numbers = Numbers(3);
    let methods = [
        "GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH",
    ];
    let paths = [
        "/",
        "/index.html",
        "/style.css?v=3",
        "/api/v2/items/42",
        "/img/a%20b.png",
    ];
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101";
    let one = |n: usize| {
        let authority = ["www.example.com", "cdn.example.com:8443"][n % 2];
        let accept = ["*/*", "text/html,application/xhtml+xml;q=0.9"][n % 2];
        let mut fields = request(methods[n % 8], authority, paths[n % 5]);
        fields.extend([
            field("user-agent", agent),
            field("accept", accept),
            field("accept-encoding", "gzip, deflate"),
            field("accept-language", "de-CH,de;q=0.8,fr;q=0.5"),
        ]);
        // RFC 9113 section 8.2.3: a cookie in crumbs, one name many times.
        let session = format!("session={}", numbers.text(BASE64, 43));
        for crumb in ["theme=dark", &session, &format!("n={n}"), "theme=dark"] {
            fields.push(field("cookie", crumb));
        }
        if n.is_multiple_of(3) {
            let tag = format!("\"{}\"", numbers.text(HEX, 20));
            fields.push(field("if-none-match", tag));
            fields.push(field("referer", "https://www.example.com/"));
        }
        fields.push(field("x-sent", format!("{}", n * 1_000)));
        block(fields)
    };
    (0..20).map(one).collect()
}

pub(super) fn browser_responses() -> Vec<Block> {
    let mut numbers = Numbers(4);
    // Those of the static table, and others.
    let statuses = [
        "200", "204", "206", "304", "400", "404", "500", "302", "429", "503",
    ];
    let one = |n: usize| {
        let content = ["text/html; charset=utf-8", "image/png"][n % 2];
        let cache = ["private", "public, max-age=31536000"][n / 2 % 2];
        let mut fields = vec![
            field(":status", statuses[n % 10]),
            field("server", "nginx/1.26"),
            field("date", format!("Mon, 21 Oct 2013 20:13:{n:02} GMT")),
            field("content-type", content),
            field("cache-control", cache),
            field("vary", "accept-encoding"),
            field("vary", "origin"),
        ];
        for crumb in 0..n % 4 {
            let value = numbers.text(BASE64, 30);
            let cookie = format!("c{crumb}={value}; path=/; secure");
            fields.push(field("set-cookie", cookie));
        }
        let tag = format!("W/\"{}\"", numbers.text(HEX, 16));
        let length = numbers.below(1 << 30);
        fields.push(field("etag", tag));
        fields.push(field("location", format!("https://example.com/{n}")));
        fields.push(field("content-length", format!("{length}")));
        block(fields)
    };
    (0..24).map(one).collect()
}

/// Sensitive fields: their names in the static table, in the dynamic one, and new; their values also those that
/// stand in a table already.
pub(super) fn secrets() -> Vec<Block> {
    let mut numbers = Numbers(5);
    let one = |n: usize| {
        let mut fields = request("POST", "vault.example.com", "/v1/secret");
        let token = format!("Bearer {}", numbers.text(BASE64, 120));
        let session = format!("session={}", numbers.text(BASE64, 43));
        let tenant = format!("tenant-{}", n / 4);
        fields.extend([
            secret("authorization", token),
            secret("cookie", session),
            field("x-tenant", &tenant),
            secret("x-tenant", format!("hidden-{n}")),
            // Not sensitive before.
            secret("x-tenant", &tenant),
            secret(&format!("x-key-{n}"), numbers.text(HEX, 32)),
            secret("x-pin", "1234"),
            secret("x-nothing", ""),
        ]);
        block(fields)
    };
    (0..16).map(one).collect()
}

/// Requests with more distinct fields than a table holds.
pub(super) fn requests_distinct() -> Vec<Block> {
    let mut numbers = Numbers(7);
    let one = |n: usize| {
        let path = format!("/shop.Orders/Get{}", n % 7);
        let mut fields = request("POST", "orders:50051", &path);
        fields.push(field("content-type", "application/grpc"));
        for i in n..n + 8 {
            let value = numbers.text(HEX, 8 + i % 40);
            fields.push(field(&format!("x-meta-{}", i % 30), value));
        }
        let token = format!("Bearer {}", numbers.text(BASE64, 60));
        fields.push(field("x-shard", format!("{}", n % 50)));
        fields.push(field("x-user-bin", numbers.text(BASE64, 86)));
        fields.push(secret("authorization", token));
        block(fields)
    };
    (0..50).map(one).collect()
}
