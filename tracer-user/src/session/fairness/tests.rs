//! Who is let go, and who is not.

use super::*;

const MS: u64 = 1_000_000;

fn socket(n: u64) -> SocketKey {
    SocketKey { sk: n, born_ns: 1 }
}

struct Driver {
    fairness: Fairness,
    now: Timestamp,
    n_lost: u64,
    /// Sockets that speak HTTP/2, each with the other end of its connection where that is followed too.
    http2: HashMap<SocketKey, Option<SocketKey>>,
}

impl Driver {
    /// Somebody whom nobody measures speaks HTTP/2 too.
    fn new() -> Driver {
        Driver::beside(&[999_999], &[])
    }

    /// These sockets speak HTTP/2, and both ends of these connections.
    fn beside(alone: &[u64], pairs: &[(u64, u64)]) -> Driver {
        let mut http2: HashMap<_, _> = alone.iter().map(|n| (socket(*n), None)).collect();
        for (one, other) in pairs {
            http2.insert(socket(*one), Some(socket(*other)));
            http2.insert(socket(*other), Some(socket(*one)));
        }
        Driver {
            fairness: Fairness::default(),
            now: Timestamp(1_000 * MS),
            n_lost: 0,
            http2,
        }
    }

    /// A window in which these (process, socket) took so many microseconds, and so many records were lost.
    fn window(&mut self, took: &[(u32, u64, u64)], lost: u64) -> Vec<SocketKey> {
        for (pid, n, us) in took {
            let measured = Measured {
                began: Duration::ZERO,
                at: self.now,
                socket: socket(*n),
                pid: *pid,
                bytes: usize::try_from(*us).unwrap(),
                stands_for: 1,
            };
            self.fairness.count(&measured, Duration::from_micros(*us));
        }
        self.fairness.n_measured += MEASURED;
        self.now = Timestamp(self.now.0 + WINDOW_NS);
        assert!(self.fairness.is_due(self.now));
        self.n_lost += lost;
        let http2 = &self.http2;
        let mut gone = self.fairness.look(self.now, self.n_lost, |taken| {
            let is_taken = |socket: &SocketKey| taken.contains(socket);
            let is_other = |other: &Option<SocketKey>| other.as_ref().is_some_and(is_taken);
            http2
                .iter()
                .any(|(one, other)| !is_taken(one) && !is_other(other))
        });
        gone.sort_unstable();
        gone
    }
}

/// Two processes flood each other, a third one makes calls.
const FLOOD: &[(u32, u64, u64)] = &[(1, 1, 45_000), (2, 2, 45_000), (3, 3, 600), (3, 4, 400)];

#[test]
fn who_floods_is_let_go_and_comes_back() {
    let mut driver = Driver::new();
    assert_eq!(driver.window(FLOOD, 9), []);
    assert_eq!(driver.window(FLOOD, 9), [socket(1), socket(2)]);
    assert!(driver.fairness.returning(driver.now).is_empty());
    let later = Timestamp(driver.now.0 + LET_GO_NS);
    let mut back = driver.fairness.returning(later);
    back.sort_unstable();
    assert_eq!(back, [socket(1), socket(2)]);
    assert!(driver.fairness.returning(later).is_empty());
}

#[test]
fn who_does_it_again_goes_at_once_and_for_longer_up_to_a_bound() {
    let mut driver = Driver::new();
    driver.window(FLOOD, 9);
    let mut away = Vec::new();
    for _ in 0..6 {
        assert_eq!(driver.window(FLOOD, 9), [socket(1), socket(2)]);
        let until = driver.fairness.away[&socket(1)];
        away.push(until.since(driver.now) / LET_GO_NS);
        driver.now = until;
        driver.fairness.returning(until);
    }
    assert_eq!(away, [1, 4, 16, 16, 16, 16]);
    // Whoever has closed it does not come back.
    driver.fairness.away.insert(socket(5), driver.now);
    let later = Timestamp(driver.now.0 + LET_GO_NS);
    driver.fairness.forget_gone(later, |of| *of != socket(5));
    assert!(!driver.fairness.away.contains_key(&socket(5)));
    // A new socket of the same process is no way out.
    let other = [(1, 7, 90_000), (3, 3, 1_000)];
    assert_eq!(driver.window(&other, 9), [socket(7)]);
    driver.now = Timestamp(driver.now.0 + REMEMBERED_NS);
    assert_eq!(driver.window(FLOOD, 9), []);
}

#[test]
fn who_is_asked_for_goes_before_anything_is_lost() {
    let took: Vec<_> = (1..=10).map(|n| (1, n, 1_000 * n)).collect();
    for (part, gone) in [(0.5, 7..=10), (0.2, 5..=10)] {
        // Nobody gains by it.
        let mut driver = Driver::beside(&[1], &[]);
        driver.fairness.ask(Keep { part }, driver.now);
        let gone: Vec<_> = gone.map(socket).collect();
        assert_eq!(driver.window(&took, 0), gone, "{part}");
        assert_eq!(driver.fairness.n_away(), gone.len());
        assert_eq!(driver.window(&took, 0), [], "once");
    }
    // It waits until enough is measured.
    let mut driver = Driver::new();
    let keep = Keep { part: 0.1 };
    driver.fairness.ask(keep, driver.now);
    assert_eq!(driver.fairness.look(driver.now, 0, |_| true), []);
    assert_eq!(driver.window(&[(1, 1, 9)], 0), [socket(1)]);
    // And not for ever.
    driver.fairness.ask(keep, driver.now);
    driver.now = Timestamp(driver.now.0 + ASKED_FOR_NS);
    assert_eq!(driver.window(&[(2, 2, 9)], 0), []);
}

#[test]
fn nobody_goes_while_nothing_is_lost_or_for_one_burst() {
    let mut driver = Driver::new();
    for lost in [0, 0, 9, 0, 9, 0] {
        assert_eq!(driver.window(FLOOD, lost), []);
    }
}

#[test]
fn few_events_are_no_ground_to_judge_by() {
    let mut driver = Driver::new();
    for n_lost in 1..10 {
        let (took, now) = (Duration::from_millis(9), Timestamp(n_lost * 2 * WINDOW_NS));
        driver.fairness.count(
            &Measured {
                began: Duration::ZERO,
                at: now,
                socket: socket(1),
                pid: 1,
                bytes: 9,
                stands_for: EVERY,
            },
            took,
        );
        assert_eq!(driver.fairness.look(now, n_lost, |_| true), []);
    }
}

#[test]
fn a_process_keeps_its_smaller_connections() {
    let mut driver = Driver::new();
    let took: Vec<_> = (1..=10).map(|n| (1, n, 1_000 * n)).collect();
    driver.window(&took, 9);
    // 21 of 55 are left: with the 7th it would be more than half.
    assert_eq!(
        driver.window(&took, 9),
        [socket(7), socket(8), socket(9), socket(10)]
    );
}

#[test]
fn where_nobody_would_gain_nobody_goes() {
    let ends = [(1, 1, 9_000), (1, 2, 1_000)];
    for (took, alone, pairs) in [
        (&[(1, 1, 9_000), (2, 2, 9_000)][..], &[1, 2][..], &[][..]),
        // Nor where both are of one process, and one is a little larger.
        (&[(1, 1, 9_000), (1, 2, 7_000)], &[1, 2], &[]),
        // Nor where they are the ends of one connection, and what was not lost was mostly of one of them, or all.
        (&ends, &[], &[(1, 2)]),
        (&ends[..1], &[], &[(1, 2)]),
        // Nor where that is so of several.
        (
            &[(1, 1, 9_000), (1, 2, 1_000), (3, 3, 9_000), (3, 4, 900)],
            &[],
            &[(1, 2), (3, 4)],
        ),
        // Nor where nobody else speaks HTTP/2.
        (&[(1, 1, 9_000), (1, 2, 7_000)], &[], &[]),
    ] {
        let mut driver = Driver::beside(alone, pairs);
        for _ in 0..5 {
            assert_eq!(driver.window(took, 9), [], "{took:?}");
        }
    }
    // Who goes need not speak HTTP/2.
    let mut driver = Driver::beside(&[3, 4], &[]);
    let took = [(1, 1, 9_000), (1, 2, 7_000)];
    driver.window(&took, 9);
    assert_eq!(driver.window(&took, 9), [socket(1)]);
}

/// Its other end is not followed, and is not taken for the one that would gain.
#[test]
fn nobody_hides_behind_the_only_one_who_would_gain() {
    let mut driver = Driver::beside(&[1, 3], &[]);
    driver.window(&[(1, 1, 90_000), (3, 3, 900)], 9);
    assert_eq!(
        driver.window(&[(1, 1, 90_000), (3, 3, 900)], 9),
        [socket(1)]
    );
}

/// Each of its connections is as small as those of who takes little in all.
#[test]
fn nobody_hides_by_many_connections() {
    let flood = (100..1_100).map(|n| (1, n, 50));
    let took: Vec<_> = flood.chain([(3, 3, 60), (3, 4, 60)]).collect();
    let many: Vec<u64> = (100..1_100).collect();
    let mut driver = Driver::beside(&many, &[(3, 4)]);
    driver.window(&took, 9);
    let gone = driver.window(&took, 9);
    assert!(gone.len() > 400, "{}", gone.len());
    assert!(gone.iter().all(|gone| gone.sk >= 100));
}

/// All who would gain are the other ends of who was let go before.
#[test]
fn nobody_has_to_go_for_the_other_ends_of_a_flood() {
    let mut driver = Driver::beside(&[], &[(1, 2), (3, 4), (5, 6)]);
    let flood = [(1, 1, 45_000), (3, 3, 45_000), (5, 5, 500), (5, 6, 500)];
    driver.window(&flood, 9);
    assert_eq!(driver.window(&flood, 9), [socket(1), socket(3)]);
    let left = [(2, 2, 100), (4, 4, 100), (5, 5, 9_000), (5, 6, 9_000)];
    for _ in 0..5 {
        assert_eq!(driver.window(&left, 9), []);
    }
}

#[test]
fn many_small_ones_are_no_match_for_a_large_one() {
    let mut driver = Driver::new();
    let mut took: Vec<_> = (10..60_u32).map(|n| (n, n.into(), 1_000)).collect();
    took.push((1, 1, 60_000));
    driver.window(&took, 9);
    assert_eq!(driver.window(&took, 9), [socket(1)]);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut driver = Driver::new();
    for round in 0..4_u32 {
        let ids = 0..2 * u32::try_from(MOST).unwrap();
        let ids = ids.map(|n| n + round * 100_000);
        let took: Vec<_> = ids.map(|n| (n, n.into(), 10 + u64::from(n % 2))).collect();
        driver.window(&took, 9);
    }
    let fairness = &driver.fairness;
    assert!(fairness.away.len() <= MOST && fairness.conduct.len() <= MOST);
    assert!(fairness.away.len() > MOST / 4);
}

/// Each connection of a flood is over before it is found to be one.
#[test]
fn nobody_goes_on_over_new_connections() {
    let mut driver = Driver::new();
    driver.fairness.has_budget = true;
    driver.window(FLOOD, 9);
    assert_eq!(driver.window(FLOOD, 9), [socket(1), socket(2)]);
    let born_ns = driver.now.0;
    let new = |sk| SocketKey { sk, born_ns };
    let takes = |driver: &mut Driver, pid, socket, ms| {
        let measured = Measured {
            began: Duration::ZERO,
            at: driver.now,
            socket,
            pid,
            bytes: 1,
            stands_for: 1,
        };
        driver.fairness.count(&measured, Duration::from_millis(ms));
        driver.fairness.take_cut()
    };
    let (first, second, third) = (new(7), new(8), new(9));
    // A small share is left to them, all together.
    assert_eq!(takes(&mut driver, 1, first, 3), []);
    assert_eq!(takes(&mut driver, 1, second, 3), [second]);
    assert_eq!(takes(&mut driver, 1, third, 1), [third]);
    // Older ones are judged by their windows, and so are those of others.
    assert_eq!(takes(&mut driver, 1, socket(5), 20), []);
    assert_eq!(takes(&mut driver, 3, new(10), 20), []);
    // Who has the most beside them is not let go for what they make others lose.
    assert_eq!(driver.window(&[(3, 3, 40_000)], 9), []);
    assert_eq!(driver.window(&[(3, 3, 40_000)], 0), []);
    // A share is there again.
    let born_ns = driver.now.0;
    let new = |sk| SocketKey { sk, born_ns };
    assert_eq!(takes(&mut driver, 1, new(11), 3), []);
    assert_eq!(takes(&mut driver, 1, new(11), 3), [new(11)]);
    // They come back as all do.
    let later = Timestamp(driver.now.0 + LET_GO_NS);
    let back = driver.fairness.returning(later);
    assert!([second, third, new(11)].iter().all(|it| back.contains(it)));
    // Nothing is lost any more: nobody has to go.
    driver.now = later;
    driver.fairness.conduct.get_mut(&1).unwrap().until = Timestamp(u64::MAX);
    assert_eq!(takes(&mut driver, 1, new(12), 20), []);
}
