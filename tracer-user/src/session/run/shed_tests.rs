//! When something is left out, by a clock that is given.

use super::shed::*;
use super::*;
use Level::{All, Connections, Joins, Lines};

const MS: Duration = Duration::from_millis(1);

/// A tracer that takes so much of the processor at each level.
struct Driver {
    shedder: Shedder,
    look: Look,
    share: [f64; 4],
    fill: f64,
    /// What goes by in a second.
    work: Work,
    orders: Vec<Orders>,
}

impl Driver {
    fn new(budget: Option<f64>, prints: Prints) -> Driver {
        Driver {
            shedder: Shedder::new(budget, prints),
            look: Look {
                now: Duration::ZERO,
                used: Duration::ZERO,
                is_away: false,
            },
            share: [0.01; 4],
            fill: 0.0,
            work: Work {
                streams: 50_000,
                hops: 20_000,
                lines: 50_000,
            },
            orders: Vec::new(),
        }
    }

    /// Takes turns for so long.
    fn run(&mut self, time: Duration) -> Level {
        let end = self.look.now + time;
        while self.look.now < end {
            let pause = 10 * MS;
            self.look.now += pause;
            self.look.used += pause.mul_f64(self.share[self.shedder.level() as usize]);
            let work = &mut self.shedder.work;
            work.streams += self.work.streams / 100;
            work.hops += self.work.hops / 100;
            work.lines += self.work.lines / 100;
            self.shedder.fills(self.fill);
            if self.shedder.is_due(self.look.now) {
                let orders = self.shedder.look(self.look);
                if orders != Orders::default() {
                    self.orders.push(orders);
                }
            }
        }
        self.shedder.level()
    }

    fn said(&self) -> Vec<&str> {
        let said = self.orders.iter().filter_map(|of| of.tell.as_deref());
        said.collect()
    }

    fn depths(&self) -> Vec<Depth> {
        self.orders.iter().filter_map(|of| of.depth).collect()
    }

    fn kept(&self) -> Vec<Keep> {
        self.orders.iter().filter_map(|of| of.keep).collect()
    }
}

#[test]
fn steps_are_taken_until_the_budget_is_kept_and_no_more() {
    for (share, level) in [
        ([0.19; 4], All),
        ([0.4, 0.19, 0.1, 0.1], Lines),
        ([0.4, 0.3, 0.19, 0.1], Joins),
        ([0.4, 0.3, 0.3, 0.19], Connections),
    ] {
        let mut driver = Driver::new(Some(0.2), Prints::Json);
        driver.share = share;
        assert_eq!(driver.run(3_000 * MS), level);
        assert_eq!(driver.run(60_000 * MS), level, "it is not calm either");
        let depth = if level >= Joins {
            &[Depth::Counts][..]
        } else {
            &[]
        };
        assert_eq!(driver.depths(), depth);
        assert_eq!(driver.kept().len(), usize::from(level == Connections));
    }
}

#[test]
fn connections_go_by_what_there_is_room_for() {
    let mut driver = Driver::new(Some(0.1), Prints::Nothing);
    driver.work = Work::default();
    driver.share = [0.4, 0.4, 0.4, 0.1];
    driver.run(300 * MS);
    let [Keep { part }] = driver.kept()[..] else {
        panic!("{:?}", driver.orders);
    };
    assert!((0.19..0.21).contains(&part), "{part}");
    // What is over all the same waits in the ring.
    assert_eq!(driver.shedder.rest(4 * MS), 40 * MS);
}

#[test]
fn the_ring_needs_no_budget_and_is_quicker() {
    let mut driver = Driver::new(None, Prints::Json);
    driver.share = [0.5; 4];
    driver.fill = 0.49;
    assert_eq!(driver.run(5_000 * MS), All);
    driver.fill = 0.51;
    let reached = driver.run(200 * MS);
    assert_ne!(reached, All);
    // Nobody is let go for it.
    assert_eq!(driver.run(60_000 * MS), reached);
    assert_eq!(driver.kept(), []);
    assert_eq!(driver.shedder.rest(4 * MS), Duration::ZERO);
    // With a budget that is exceeded too, somebody is.
    let mut driver = Driver::new(Some(0.1), Prints::Json);
    (driver.share, driver.fill) = ([0.5; 4], 0.51);
    driver.run(1_000 * MS);
    assert!(!driver.kept().is_empty());
}

#[test]
fn a_step_that_saves_little_is_passed_over() {
    for (work, prints, level) in [
        // Of many frames and few streams.
        (
            Work {
                streams: 10,
                hops: 0,
                lines: 10,
            },
            Prints::Json,
            Connections,
        ),
        // Nothing is printed.
        (
            Work {
                streams: 50_000,
                hops: 20_000,
                lines: 0,
            },
            Prints::Nothing,
            Joins,
        ),
        // And nothing joined.
        (
            Work {
                streams: 50_000,
                hops: 0,
                lines: 0,
            },
            Prints::Nothing,
            Connections,
        ),
    ] {
        let mut driver = Driver::new(Some(0.1), prints);
        driver.share = [0.2, 0.05, 0.05, 0.05];
        driver.work = work;
        assert_eq!(driver.run(1_000 * MS), level);
    }
}

#[test]
fn all_is_taken_up_again_and_later_each_time_that_it_was_too_soon() {
    let mut driver = Driver::new(Some(0.2), Prints::Json);
    driver.share = [0.4, 0.3, 0.3, 0.05];
    assert_eq!(driver.run(1_000 * MS), Connections);
    driver.look.is_away = true;
    assert_eq!(
        driver.run(30_000 * MS),
        Connections,
        "they have not come back"
    );
    driver.look.is_away = false;
    // As much comes as before.
    let changes = |driver: &mut Driver| {
        let mut n = 0;
        for _ in 0..6_000 {
            let before = driver.shedder.level();
            n += u32::from(driver.run(10 * MS) != before);
        }
        n
    };
    let (first, second) = (changes(&mut driver), changes(&mut driver));
    assert!(first > 2 * second && second < 6, "{first}, {second}");
    assert_eq!(driver.shedder.calm, *CALM.end());
    // Nothing comes any more.
    driver.share = [0.01; 4];
    assert_eq!(driver.run(3 * *CALM.end() + 3_000 * MS), All);
    assert_eq!(driver.depths().last(), Some(&Depth::Whole));
    let time = driver.shedder.shed.time;
    driver.run(60_000 * MS);
    assert_eq!(
        driver.shedder.shed.time, time,
        "nothing is left out any more"
    );
    // Much later it is as for the first time.
    driver.run(4 * SOON * *CALM.end());
    driver.share = [0.4, 0.19, 0.19, 0.05];
    assert_eq!(driver.run(1_000 * MS), Lines);
    assert_eq!(driver.shedder.calm, *CALM.start());
}

#[test]
fn what_is_said_is_the_first_change_and_then_where_it_stands() {
    let mut driver = Driver::new(Some(0.2), Prints::Json);
    driver.share = [0.4, 0.4, 0.4, 0.05];
    driver.look.is_away = true;
    driver.run(4_000 * MS);
    driver.look.is_away = false;
    driver.share = [0.01; 4];
    driver.run(10_000 * MS);
    let said = driver.said();
    let [first, second, .., last] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(first.contains("--max-cpu") && first.contains("one in 64 is printed"));
    assert!(second.contains("let go"), "{said:?}");
    assert!(last.starts_with("no longer short of time"), "{said:?}");
    assert!(said.len() <= 6, "{said:?}");
}
