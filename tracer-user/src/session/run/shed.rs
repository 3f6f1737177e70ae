//! What is left out where there is not the time for all of it, and when.
//!
//! Records that find the ring full are lost blindly, and what they would have said is unknown. Before that, detail is left
//! out by rule, in steps: first lines of streams that ended well, then stories and the joins of proxies; and by a budget of
//! the processor, whole connections last.
//! What counts streams, resets and ends goes on until then. A step that would save little is passed over.

use std::collections::VecDeque;
use std::time::Duration;

use h2trace_core::pipeline::{Depth, Output, is_sampled};

use crate::export::tally::Shed;
use crate::session::output::Weight;

/// The part of the ring that waits when it is time to leave something out.
const FULL: f64 = 0.5;

/// The part of the ring below which all is well.
const EASY: f64 = 0.25;

/// The part of the budget below which all is well.
const WELL_WITHIN: f64 = 0.7;

/// Time between two looks at the budget.
const EVERY: Duration = Duration::from_millis(50);

/// How long a step has to show what it saves, as the budget shows it, and as the ring does.
const STEP: Duration = Duration::from_millis(200);
const STEP_OF_RING: Duration = Duration::from_millis(50);

/// What of the processor is taken is measured over so long.
const WINDOW: Duration = Duration::from_secs(1);

/// How long all is well before a step is taken back: twice as long each time that it has to be taken again soon.
pub(super) const CALM: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(64);

/// Soon: within so many times that.
pub(super) const SOON: u32 = 4;

/// A change is said no sooner after the last one.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// The share of its time that a step has to save.
const WORTH: f64 = 0.15;

/// What takes the time that a step saves, about, in nanoseconds.
mod cost {
    /// A line for people, and one for programs.
    pub(super) const TEXT: u64 = 4_000;
    pub(super) const JSON: u64 = 10_000;
    /// To look for what a stream belongs to.
    pub(super) const STREAM: u64 = 250;
    /// Its story.
    pub(super) const STORY: u64 = 200;
    /// To join both sides of a request.
    pub(super) const HOP: u64 = 1_500;
}

/// What is left out: all before it too, where that was worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    All,
    /// Lines of what went well, but for a sample.
    Lines,
    /// Stories, but for a sample; and both sides of proxies are not joined.
    Joins,
    /// Whole connections.
    Connections,
}

impl Level {
    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Level::All => "all of it is followed again",
            Level::Lines => "of streams that end well, one in 64 is printed",
            Level::Joins => {
                "of one stream in 64 the story is kept, and the two sides of proxies are not joined"
            }
            Level::Connections => "connections with the most traffic are let go for a while",
        }
    }
}

/// What a run prints: what lines and stories cost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) enum Prints {
    Nothing,
    Text,
    Json,
}

/// How it stands when the session looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Since the run began.
    pub(super) now: Duration,
    /// What the process has taken of the processors.
    pub(super) used: Duration,
    /// Connections that were let go have not come back.
    pub(super) is_away: bool,
}

/// What is to be done after a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Orders {
    /// Streams are to be followed so closely from now on.
    pub(super) depth: Option<Depth>,
    /// Connections are to be let go until this part of what they take is left.
    pub(super) keep: Option<Keep>,
    /// This is to be said.
    pub(super) tell: Option<String>,
}

/// What part of what connections take is to be left, whether or not anybody gains by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keep {
    /// This part.
    pub part: f64,
}

/// What went by so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) streams: u64,
    pub(super) hops: u64,
    pub(super) lines: u64,
}

impl Work {
    const fn since(self, before: Work) -> Work {
        Work {
            streams: self.streams - before.streams,
            hops: self.hops - before.hops,
            lines: self.lines - before.lines,
        }
    }
}

/// How it stood at a look.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    used: Duration,
    work: Work,
}

/// Decides what is left out.
#[derive(Debug)]
pub(super) struct Shedder {
    /// The share of one processor that the process may take.
    budget: Option<f64>,
    prints: Prints,
    /// Steps that are taken: lines, joins, connections.
    steps: [bool; 3],
    samples: VecDeque<Sample>,
    /// The most that waited in the ring since the last look.
    fill: f64,
    pub(super) work: Work,
    /// When something was last done.
    changed_at: Duration,
    calm_since: Option<Duration>,
    pub(super) calm: Duration,
    lowered_at: Option<Duration>,
    told: (Level, Duration),
    by_budget: bool,
    shed_since: Option<Duration>,
    /// What was left out.
    pub(super) shed: Shed,
}

impl Shedder {
    pub(super) fn new(budget: Option<f64>, prints: Prints) -> Self {
        Self {
            budget,
            prints,
            steps: [false; 3],
            samples: VecDeque::new(),
            fill: 0.0,
            work: Work::default(),
            changed_at: Duration::ZERO,
            calm_since: None,
            calm: *CALM.start(),
            lowered_at: None,
            told: (Level::All, Duration::ZERO),
            by_budget: false,
            shed_since: None,
            shed: Shed::default(),
        }
    }

    /// The last step that was taken.
    pub(super) fn level(&self) -> Level {
        match self.steps {
            [_, _, true] => Level::Connections,
            [_, true, _] => Level::Joins,
            [true, ..] => Level::Lines,
            [false, false, false] => Level::All,
        }
    }

    /// Whether an output is printed. Counts what it is about.
    #[inline]
    pub(super) fn passes(&mut self, output: &Output) -> bool {
        let stream = match output {
            Output::Stream { record, .. } => {
                self.work.streams += 1;
                let [_, joins, _] = self.steps;
                if joins {
                    self.shed.joins += 1;
                    let is_told = self.prints != Prints::Nothing;
                    self.shed.stories += u64::from(is_told && record.story.is_empty());
                }
                record
            }
            Output::Hop { request, .. } => {
                self.work.hops += 1;
                &request.downstream.record
            }
            Output::Lone(lone) => &lone.upstream.record,
            _ => return true,
        };
        if self.prints == Prints::Nothing || Weight::of(output) == Weight::NotToBeMissed {
            return true;
        }
        self.work.lines += 1;
        let [lines, ..] = self.steps;
        let is_left_out = lines && !is_sampled(stream.connection, stream.stream_id);
        self.shed.lines += u64::from(is_left_out);
        !is_left_out
    }

    /// So much of the ring waited.
    #[inline]
    pub(super) fn fills(&mut self, fill: f64) {
        self.fill = self.fill.max(fill);
    }

    /// It is time to look.
    #[inline]
    pub(super) fn is_due(&self, now: Duration) -> bool {
        let looked_at = self.samples.back().map_or(Duration::ZERO, |last| last.at);
        self.fill > FULL || now.saturating_sub(looked_at) >= EVERY
    }

    /// How long to rest after a turn that took so much of the processor: where all that can be left out is, and it is still
    /// too much, records wait.
    pub(super) fn rest(&self, used: Duration) -> Duration {
        /// No longer, so that the end of the run is not late.
        const LONGEST: Duration = Duration::from_secs(1);
        match self.budget.filter(|_| self.level() == Level::Connections) {
            Some(budget) => used.div_f64(budget).min(LONGEST),
            None => Duration::ZERO,
        }
    }

    /// Looks how it stands.
    pub(super) fn look(&mut self, look: Look) -> Orders {
        let Look { now, used, is_away } = look;
        let fill = std::mem::take(&mut self.fill);
        if let Some(since) = &mut self.shed_since {
            self.shed.time += now.saturating_sub(*since);
            *since = now;
        }
        self.samples.push_back(self.sample(look));
        while let Some(second) = self.samples.get(1)
            && now.saturating_sub(second.at) >= WINDOW
        {
            self.samples.pop_front();
        }
        let mut orders = Orders::default();
        let over = self.over_budget(now, used);
        let waited = now.saturating_sub(self.changed_at);
        // Who goes shows later, and by then so does the budget.
        let shows = match self.level() {
            Level::Connections => STEP,
            _ => STEP_OF_RING,
        };
        let is_full = fill > FULL && waited >= shows;
        if is_full || over.is_some_and(|part| part < 1.0) {
            self.calm_since = None;
            self.by_budget = !is_full;
            self.step(look, over, &mut orders);
        } else if self.is_well(fill, over) && !is_away {
            let since = *self.calm_since.get_or_insert(now);
            if self.level() != Level::All && now.saturating_sub(since) >= self.calm {
                self.step_back(now, &mut orders);
            }
        } else {
            self.calm_since = None;
        }
        if self.level() == Level::All {
            self.shed_since = None;
        }
        self.tell(now, &mut orders);
        orders
    }

    /// What part of it the budget has room for, where that was measured for long enough.
    fn over_budget(&self, now: Duration, used: Duration) -> Option<f64> {
        let from = self.samples.front()?;
        let time = now.saturating_sub(from.at);
        let budget = self.budget.filter(|_| time >= STEP)?;
        let share = used.saturating_sub(from.used).as_secs_f64() / time.as_secs_f64();
        Some(budget / share.max(f64::MIN_POSITIVE))
    }

    fn is_well(&self, fill: f64, over: Option<f64>) -> bool {
        let is_within = over.is_some_and(|part| part * WELL_WITHIN >= 1.0);
        fill < EASY && (is_within || self.budget.is_none())
    }

    /// What is left out next.
    fn step(&mut self, look: Look, over: Option<f64>, orders: &mut Orders) {
        let now = look.now;
        let next = self.next_step(look.used);
        let was = self.level();
        // Somewhat less than there is room for: not all that is used is used for them.
        let room = over.map(|part| part * 0.8).filter(|part| *part < 1.0);
        match (next, room) {
            (0, _) => {}
            (1, _) => orders.depth = Some(Depth::Counts),
            (_, Some(part)) => orders.keep = Some(Keep { part }),
            // Where the ring is full all the same, who loses records and who has to go is not decided here.
            (_, None) => return,
        }
        if let Some(step) = self.steps.get_mut(next) {
            *step = true;
        }
        self.shed_since.get_or_insert(now);
        if let Some(lowered_at) = self.lowered_at.filter(|_| self.level() > was) {
            let is_soon = now.saturating_sub(lowered_at) < self.calm * SOON;
            self.calm = if is_soon {
                (self.calm * 2).min(*CALM.end())
            } else {
                *CALM.start()
            };
        }
        self.changes(look);
    }

    /// The next step that is worth it, by what went by within the window.
    fn next_step(&self, used: Duration) -> usize {
        let [lines, joins, _] = self.steps;
        let Some(from) = self.samples.front() else {
            return 2;
        };
        let worth = used.saturating_sub(from.used).as_secs_f64() * 1e9 * WORTH;
        let work = self.work.since(from.work);
        let (line, story) = match self.prints {
            Prints::Nothing => (0, 0),
            Prints::Text => (cost::TEXT, cost::STORY),
            Prints::Json => (cost::JSON, cost::STORY),
        };
        let of_lines = work.lines * line;
        let of_joins = work.streams * (cost::STREAM + story) + work.hops * cost::HOP;
        if !lines && of_lines as f64 > worth {
            0
        } else if !joins && of_joins as f64 > worth {
            1
        } else {
            2
        }
    }

    /// What was left out last is taken up again.
    fn step_back(&mut self, now: Duration, orders: &mut Orders) {
        let last = self.steps.iter().rposition(|step| *step);
        if let Some(step) = last.and_then(|last| self.steps.get_mut(last)) {
            *step = false;
        }
        if last == Some(1) {
            orders.depth = Some(Depth::Whole);
        }
        self.calm_since = None;
        self.lowered_at = Some(now);
        self.changed_at = now;
    }

    /// What was measured until now does not show what is saved from now on.
    fn changes(&mut self, look: Look) {
        self.changed_at = look.now;
        self.samples.clear();
        self.samples.push_back(self.sample(look));
    }

    fn sample(&self, look: Look) -> Sample {
        Sample {
            at: look.now,
            used: look.used,
            work: self.work,
        }
    }

    fn tell(&mut self, now: Duration, orders: &mut Orders) {
        let level = self.level();
        let (told, at) = self.told;
        let is_first = told == Level::All && at == Duration::ZERO;
        if level != told && (is_first || now.saturating_sub(at) >= TELL_EVERY) {
            self.told = (level, now);
            let why = match (level, self.by_budget) {
                (Level::All, _) => "no longer short of time",
                (_, true) => "short of time (--max-cpu)",
                (_, false) => "short of time (the ring fills)",
            };
            orders.tell = Some(format!("{why}: {}", level.words()));
        }
    }
}
