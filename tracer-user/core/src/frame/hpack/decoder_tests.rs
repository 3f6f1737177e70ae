use std::collections::VecDeque;

use super::*;
use crate::field::Shown;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn text(part: Option<&[u8]>) -> &str {
    part.map_or("?", |bytes| std::str::from_utf8(bytes).unwrap())
}

/// `name: value` per field, `?` for what is unseen.
fn lines(decoded: &Decoded) -> Vec<String> {
    let fields = &decoded.block.fields;
    fields
        .iter()
        .map(|f| format!("{}: {}", text(f.name()), text(f.value())))
        .collect()
}

fn table_lines(decoder: &Decoder) -> Vec<String> {
    (0..)
        .map_while(|place| decoder.table.get(place))
        .map(|entry| {
            let field = Field::of(Arc::clone(entry));
            format!("{}: {}", text(field.name()), text(field.value()))
        })
        .collect()
}

fn check(decoder: &mut Decoder, block: &str, want: &[&str], table: &[&str], table_size: usize) {
    let decoded = decoder.decode(&hex(block), false);
    assert_eq!(decoded.error, None);
    assert!(decoded.block.complete);
    assert_eq!(lines(&decoded), want);
    let list_size: usize = want.iter().map(|line| line.len() - 2 + 32).sum();
    assert_eq!(decoded.block.list_size, list_size as u64);
    assert_eq!(table_lines(decoder), table);
    assert_eq!(decoder.table.size(), table_size);
}

#[test]
fn literals_of_rfc_7541_appendix_c_2() {
    let fresh = || Decoder::new(true);
    check(
        &mut fresh(),
        "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
        &["custom-key: custom-header"],
        &["custom-key: custom-header"],
        55,
    );
    check(
        &mut fresh(),
        "040c 2f73 616d 706c 652f 7061 7468",
        &[":path: /sample/path"],
        &[],
        0,
    );
    check(&mut fresh(), "82", &[":method: GET"], &[], 0);
    let block = hex("1008 7061 7373 776f 7264 0673 6563 7265 74");
    let decoded = fresh().decode(&block, false);
    assert_eq!(lines(&decoded), ["password: secret"]);
    assert!(decoded.block.fields[0].never_indexed);
}

const REQUESTS: [&[&str]; 3] = [
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
    ],
    &[
        ":method: GET",
        ":scheme: http",
        ":path: /",
        ":authority: www.example.com",
        "cache-control: no-cache",
    ],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

#[test]
fn requests_of_rfc_7541_appendices_c_3_and_c_4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let tables: [&[&str]; 3] = [
        &[":authority: www.example.com"],
        &["cache-control: no-cache", ":authority: www.example.com"],
        &[
            "custom-key: custom-value",
            "cache-control: no-cache",
            ":authority: www.example.com",
        ],
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(true);
        for (i, size) in [57, 110, 164].into_iter().enumerate() {
            check(&mut decoder, blocks[i], REQUESTS[i], tables[i], size);
        }
    }
}

#[test]
fn responses_of_rfc_7541_appendices_c_5_and_c_6() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    let date1 = "date: Mon, 21 Oct 2013 20:13:21 GMT";
    let date2 = "date: Mon, 21 Oct 2013 20:13:22 GMT";
    let location = "location: https://www.example.com";
    let cookie = "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
    let (private, gzip) = ("cache-control: private", "content-encoding: gzip");
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(true);
        decoder.table.set_max_size(256);
        check(
            &mut decoder,
            blocks[0],
            &[":status: 302", private, date1, location],
            &[location, date1, private, ":status: 302"],
            222,
        );
        check(
            &mut decoder,
            blocks[1],
            &[":status: 307", private, date1, location],
            &[":status: 307", location, date1, private],
            222,
        );
        check(
            &mut decoder,
            blocks[2],
            &[":status: 200", private, date2, location, gzip, cookie],
            &[cookie, gzip, date2],
            215,
        );
    }
}

#[test]
fn malformed_blocks_are_named() {
    for (name, block, error) in [
        ("index 0", "80", Error::Index),
        ("index past the static table", "be", Error::Index),
        ("name index past the tables", "7f 00 01 61", Error::Index),
        ("literal without value", "40 01 61", Error::Truncated),
        (
            "string longer than the block",
            "00 01 61 05 62",
            Error::Truncated,
        ),
        ("integer without end", "ff 80", Error::Truncated),
        ("integer too large", "ff ff ff ff ff 7f", Error::Integer),
        ("Huffman EOS", "00 01 61 84 ff ff ff ff", Error::Huffman),
        ("size update after a field", "82 20", Error::SizeUpdatePlace),
        (
            "size update above the limit",
            "3f e2 1f",
            Error::SizeUpdateLimit,
        ),
    ] {
        let mut decoder = Decoder::new(true);
        let decoded = decoder.decode(&hex(block), false);
        assert_eq!(decoded.error, Some(error), "{name}");
        assert!(!decoded.block.complete, "{name}");
        assert!(
            !decoder.history_seen(),
            "{name}: the table is undefined now"
        );
    }
}

#[test]
fn fields_before_the_malformed_one_are_kept() {
    let decoded = Decoder::new(true).decode(&hex("82 86 80 84"), false);
    assert_eq!(lines(&decoded), [":method: GET", ":scheme: http"]);
}

#[test]
fn two_size_updates_at_the_start_are_allowed_and_the_first_evicts() {
    let mut decoder = Decoder::new(true);
    decoder.decode(&hex("40 01 61 01 62"), false);
    assert_eq!(decoder.table.len(), 1);
    // To 0, then to 4096.
    let decoded = decoder.decode(&hex("20 3f e1 1f 82"), false);
    assert_eq!(decoded.error, None);
    assert_eq!(decoder.table.len(), 0);
    decoder.decode(&hex("40 01 61 01 62"), false);
    assert_eq!(decoder.table.len(), 1);
}

#[test]
fn the_announced_limit_bounds_size_updates() {
    // Size update to 8192.
    let block = hex("3f e1 3f");
    assert_eq!(
        Decoder::new(true).decode(&block, false).error,
        Some(Error::SizeUpdateLimit)
    );
    let mut decoder = Decoder::new(true);
    decoder.set_limit(8_192);
    assert_eq!(decoder.decode(&block, false).error, None);
}

#[test]
fn a_lower_limit_counts_from_the_first_update_that_respects_it() {
    let mut decoder = Decoder::new(true);
    decoder.set_limit(100);
    // The sender may not know it yet: an update to 4096 is not its error.
    assert_eq!(decoder.decode(&hex("3f e1 1f"), false).error, None);
    // To 100, the acknowledgement; then 4096 is an error.
    assert_eq!(decoder.decode(&hex("3f 45"), false).error, None);
    assert_eq!(
        decoder.decode(&hex("3f e1 1f"), false).error,
        Some(Error::SizeUpdateLimit)
    );
}

#[test]
fn an_acknowledged_lower_limit_demands_an_update() {
    let first = |blocks: &[&str]| {
        let mut decoder = Decoder::new(true);
        decoder.set_limit(100);
        decoder.acknowledged();
        let decoded = blocks
            .iter()
            .map(|block| decoder.decode(&hex(block), false));
        decoded.map(|it| it.update_missing).collect::<Vec<_>>()
    };
    assert_eq!(first(&["82", "82"]), [true, false]);
    // To 100; to 4096, and to 100 before that.
    assert_eq!(first(&["3f 45 82", "82"]), [false, false]);
    assert_eq!(first(&["3f e1 1f 82"]), [true]);
    // It had come before the acknowledgement.
    let mut decoder = Decoder::new(true);
    decoder.set_limit(100);
    assert!(!decoder.decode(&hex("3f 45 82"), false).update_missing);
    decoder.acknowledged();
    assert!(!decoder.decode(&hex("82"), false).update_missing);
}

#[test]
fn after_a_late_attach_older_entries_are_unseen_and_newer_ones_resolve() {
    let mut decoder = Decoder::new(false);
    // Index 62 and 70 of a table that was filled before; then a literal that is inserted.
    let decoded = decoder.decode(&hex("82 be c6 40 01 61 01 62 be bf"), false);
    assert_eq!(decoded.error, None);
    assert_eq!(
        lines(&decoded),
        [":method: GET", "?: ?", "?: ?", "a: b", "a: b", "?: ?"]
    );
    assert!(!decoded.block.complete);
    let decoded = decoder.decode(&hex("82 be"), false);
    assert_eq!(lines(&decoded), [":method: GET", "a: b"]);
    assert!(
        decoded.block.complete,
        "a block without unseen parts is complete"
    );
}

#[test]
fn a_literal_with_an_unseen_name_is_inserted_with_an_unseen_name() {
    let mut decoder = Decoder::new(false);
    // Name from index 65 (unseen), value "v"; then that entry, then its name with another value.
    let decoded = decoder.decode(&hex("7f 02 01 76 be 0f 2f 01 77"), false);
    assert_eq!(lines(&decoded), ["?: v", "?: v", "?: w"]);
    assert!(!decoded.block.complete);
    assert_eq!(decoded.block.list_size, 3 * 33);
}

#[test]
fn a_cut_block_gives_its_beginning_and_makes_the_table_unseen() {
    let mut decoder = Decoder::new(true);
    assert!(decoder.decode(&hex("40 01 61 01 62"), false).block.complete);
    let decoded = decoder.decode(&hex("82 be 40 01 61 05 62"), true);
    assert_eq!(
        (decoded.error, lines(&decoded)),
        (None, vec![":method: GET".into(), "a: b".into()])
    );
    assert!(!decoded.block.complete);
    let decoded = decoder.decode(&hex("be 40 01 63 01 64 be"), false);
    assert_eq!(
        (decoded.error, lines(&decoded)),
        (None, vec!["?: ?".into(), "c: d".into(), "c: d".into()])
    );
}

#[test]
fn a_header_bomb_is_counted_but_not_kept_and_the_table_stays_right() {
    let mut decoder = Decoder::new(true);
    // An entry of 4000 bytes, then 100,000 references to it, then an insertion.
    let mut block = hex("40 01 61 7f a1 1e");
    block.extend(std::iter::repeat_n(b'x', 4_000));
    block.extend(std::iter::repeat_n(0xbe, 100_000));
    block.extend(hex("40 01 62 01 63"));
    let decoded = decoder.decode(&block, false);
    assert_eq!(decoded.error, None);
    assert!(decoded.list_limited && !decoded.block.complete);
    assert_eq!(decoded.block.list_size, 100_001 * 4_033 + 34);
    assert_eq!(decoded.block.fields.len(), limits::HEADER_LIST / 4_033);
    assert_eq!(
        table_lines(&decoder),
        ["b: c".to_string(), format!("a: {}", "x".repeat(4_000))]
    );
    assert_eq!(lines(&decoder.decode(&hex("be"), false)), ["b: c"]);
}

#[test]
fn what_is_only_counted_is_hardly_looked_at() {
    let mut decoder = Decoder::new(true);
    let mut block = hex("40 01 61 7f a1 1e");
    block.extend(std::iter::repeat_n(b'x', 4_000));
    block.extend(std::iter::repeat_n(0xbe, 100_000));
    // A new name, and the name of that entry, each with another value every time.
    for n in 0..10_000_u32 {
        let value = n.to_be_bytes();
        block.extend([&hex("00 01 62 04")[..], &value, &hex("0f 2f 04"), &value].concat());
    }
    block.push(0xbe);
    let decoded = decoder.decode(&block, false);
    assert_eq!((decoded.error, decoded.list_limited), (None, true));
    let literals = 10_000 * (32 + 1 + 4) * 2;
    assert_eq!(decoded.block.list_size, 100_002 * 4_033 + literals);
    let kept = limits::HEADER_LIST / 4_033;
    // The name that another entry has is looked up.
    let looked_at = decoder.n_entries.get() - 10_000;
    assert!(looked_at < kept + 10, "{looked_at}");
}

#[test]
fn our_own_bound_on_the_table_is_told_once_and_is_not_the_peers_error() {
    let mut decoder = Decoder::new(true);
    decoder.set_limit(1 << 20);
    // Size update to 2^20.
    assert_eq!(decoder.decode(&hex("3f e1 ff 3f"), false).error, None);
    let mut insert = hex("40 01 61 7f a1 f7 01");
    insert.extend(std::iter::repeat_n(b'x', 31_776));
    let mut told = 0;
    for _ in 0..4 {
        let decoded = decoder.decode(&insert, false);
        assert_eq!(decoded.error, None);
        told += usize::from(decoded.table_limited);
    }
    assert_eq!(told, 1);
    let decoded = decoder.decode(&hex("c1"), false);
    assert_eq!(
        (decoded.error, lines(&decoded)),
        (None, vec!["?: ?".to_string()])
    );
}

/// A block of these fields as literals that are not put into the table, each with its name.
fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for part in [name, value] {
            block.push(u8::try_from(part.len()).unwrap());
            block.extend(part.bytes());
        }
    }
    block
}

#[test]
fn memory_that_is_used_again_shows_nothing_of_what_was_there() {
    let shown = Shown::with(["x-call-id"]).unwrap();
    let mut decoder = Decoder::new(true);
    let (mut held, mut facts, mut entries) = (VecDeque::new(), Vec::new(), Vec::new());
    let mut n_again = 0;
    for n in 0..40 {
        let (path, id) = (format!("/a/{n}?q={n}"), "x".repeat(n % 7));
        let mut fields = vec![(":path", path.as_str()), ("x-call-id", id.as_str())];
        let fewer = [("x-other", path.as_str()), ("bad name", "\r\n")];
        if n % 3 == 0 {
            fields = fewer.to_vec();
        }
        let n_spare: usize = facts.len();
        // At once, or when it is asked for.
        let at_once = (n % 2 == 0).then_some(BlockReading {
            shown: &shown,
            spare: &mut facts,
        });
        let decoded = decoder.decode_and_read(&literals(&fields), false, at_once);
        decoder.handed_out(&decoded.block);
        let want: Vec<String> = fields.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        assert_eq!(lines(&decoded), want);
        decoded.block.read(BlockReading {
            shown: &shown,
            spare: &mut facts,
        });
        n_again += n_spare - facts.len();
        // The same of a block and facts that are made anew.
        let copy = HeaderBlock::clone(&decoded.block);
        let (used, made) = (decoded.block.facts(&shown), copy.facts(&shown));
        assert_eq!(format!("{used:?}"), format!("{made:?}"));
        assert_eq!(
            (&used.path, used.names, used.is_odd),
            (&made.path, made.names, made.is_odd)
        );
        assert_eq!(used.digest(&decoded.block), made.digest(&copy));
        held.push_back(Arc::clone(used));
        // What is told of a stream comes back after some others.
        if held.len() > 4
            && let Some(mut told) = held.pop_front()
            && let Some(spare) = Arc::get_mut(&mut told)
        {
            spare.spare_entries(&mut entries, 8);
            facts.push(told);
            decoder.take_spare_entries(&mut entries);
        }
    }
    assert!(n_again > 20, "{n_again}");
}

#[test]
fn a_block_that_comes_again_is_decoded_once_and_a_sensitive_one_each_time() {
    let block = literals(&[("a", "b")]);
    let mut never = block.clone();
    never[0] = 0x10;
    for (block, is_kept) in [(block, true), (never, false)] {
        let mut decoder = Decoder::new(true);
        let blocks: Vec<_> = (0..3)
            .map(|_| decoder.decode(&block, false).block)
            .collect();
        assert!(!Arc::ptr_eq(&blocks[0], &blocks[1]));
        assert_eq!(Arc::ptr_eq(&blocks[1], &blocks[2]), is_kept);
        assert!(decoder.spare_blocks.iter().all(|_| is_kept));
    }
}

#[test]
fn blocks_that_begin_alike_say_what_each_says_alone() {
    let shown = Shown::with(["x-call-id"]).unwrap();
    let mut decoder = Decoder::new(true);
    let mut n_alike = 0;
    for n in 0..60_usize {
        let (path, value) = (format!("/a/{}?q", n / 20), format!("{}S", n * 7 % 31));
        let mut fields = vec![
            (":method", "POST"),
            (":path", path.as_str()),
            ("content-type", "application/grpc"),
            ("x-call-id", "7"),
        ];
        // What follows may change how all of it is to be read.
        fields.extend(match n % 6 {
            0 => vec![("grpc-timeout", value.as_str())],
            1 => vec![("content-length", value.trim_end_matches('S'))],
            2 => vec![(":method", "GET"), ("user-agent", value.as_str())],
            3 => vec![("x-call-id", value.as_str()), ("te", "trailers")],
            4 => vec![("content-type", value.as_str())],
            _ => vec![("Bad Name", value.as_str())],
        });
        let mut block = literals(&fields);
        let is_cut = n % 17 == 16;
        if is_cut {
            block.pop();
        }
        let begins_alike = decoder.stems.find(&block, decoder.table.n_changes());
        n_alike += usize::from(begins_alike.is_some());
        let (decoded, alone) = (
            decoder.decode(&block, is_cut),
            Decoder::new(true).decode(&block, is_cut),
        );
        assert_eq!(decoded.block, alone.block);
        assert_eq!(decoded.error, alone.error);
        let (facts, want) = (decoded.block.facts(&shown), alone.block.facts(&shown));
        assert_eq!(format!("{facts:?}"), format!("{want:?}"));
        assert_eq!(
            (&facts.path, &facts.content_type, facts.names, facts.is_odd),
            (&want.path, &want.content_type, want.names, want.is_odd)
        );
        assert_eq!(
            (facts.method, facts.length, facts.timeout, facts.user_agent),
            (want.method, want.length, want.timeout, want.user_agent)
        );
        assert_eq!(facts.digest(&decoded.block), want.digest(&alone.block));
    }
    assert!(n_alike > 30, "{n_alike}");
}

#[test]
fn nothing_sensitive_is_kept_of_how_blocks_begin() {
    let mut decoder = Decoder::new(true);
    for n in 0..4_u8 {
        let mut block = literals(&[("a", "b"), ("c", "d"), ("authorization", "secret")]);
        *block.iter_mut().rev().nth(21).unwrap() = 0x10;
        block.extend(literals(&[("n", &n.to_string())]));
        let decoded = decoder.decode(&block, false);
        assert!(decoded.block.fields[2].never_indexed);
        assert!(decoder.stems.find(&block, 0).is_none());
    }
    assert_eq!(decoder.stems.memory(), 0);
}
