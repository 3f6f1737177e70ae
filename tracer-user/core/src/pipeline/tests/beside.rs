//! Who is there beside some connections.

use super::witness::Ends;
use super::*;

fn key(sk: u64) -> SocketKey {
    SocketKey { sk, born_ns: 1 }
}

/// A client's end of an AF_UNIX connection.
fn unix(driver: &mut Driver, sk: u64, unix_peer_sk: u64, said: &[u8]) {
    (driver.key, driver.offsets) = (key(sk), [0, 0]);
    let open = Open {
        opened: Opened::Active,
        from_start: true,
        local: Address::Unix(String::new()),
        peer: Address::Unix(String::new()),
        unix_peer_sk,
        ..Open::unseen()
    };
    driver.event(What::Open(Box::new(open)));
    driver.send(Direction::Tx, said);
}

#[test]
fn the_other_end_of_a_connection_gains_nothing_by_it() {
    let mut ends = Ends::new();
    let beside = |ends: &Ends, taken: &[SocketKey]| ends.driver.pipeline.speaks_http2_beside(taken);
    assert!(beside(&ends, &[]));
    for taken in [&[key(1)][..], &[key(2)], &[key(1), key(2)]] {
        assert!(!beside(&ends, taken), "{taken:?}");
    }
    // Nor does who does not speak HTTP/2, as far as is known.
    unix(&mut ends.driver, 3, 0, b"PRI");
    assert!(!beside(&ends, &[key(1)]));
    unix(&mut ends.driver, 4, 0, &[PREFACE, &settings()].concat());
    assert!(beside(&ends, &[key(1)]));
    assert!(!beside(&ends, &[key(1), key(4)]));
    // It is not followed.
    assert!(beside(&ends, &[key(99)]));
}

#[test]
fn of_a_unix_connection_either_end_may_name_the_other() {
    for (of_first, of_second) in [(6, 0), (0, 5), (6, 5)] {
        let mut driver = Driver::new();
        let hello = [PREFACE, &settings()].concat();
        unix(&mut driver, 5, of_first, &hello);
        unix(&mut driver, 6, of_second, &hello);
        for taken in [5, 6] {
            assert!(!driver.pipeline.speaks_http2_beside(&[key(taken)]));
        }
        unix(&mut driver, 7, 8, &hello);
        assert!(driver.pipeline.speaks_http2_beside(&[key(5)]));
    }
}

#[test]
fn what_goes_by_in_a_tunnel_gains_with_what_is_around_it() {
    let mut driver = Driver::new();
    let hello = [PREFACE, &settings()].concat();
    unix(&mut driver, 5, 0, &hello);
    driver.key = SocketKey::of_tunnel(1, 1, Timestamp(driver.at));
    driver.offsets = [0, 0];
    driver.open(Opened::Active, true);
    driver.send(Direction::Tx, &hello);
    assert_eq!(driver.pipeline.live().connections, 2);
    assert!(driver.pipeline.speaks_http2_beside(&[]));
    assert!(!driver.pipeline.speaks_http2_beside(&[key(5)]));
}
