//! Whether proposals that wait are held a little, so that those who come back go with them.
//!
//! Callers that propose one command after the other fall into two groups by themselves: while one is written, the other
//! comes, and is written as soon as the disk is free; each waits for the other's write, and each write has half of them.
//! Held until those are back who were just answered, they are one group: half as many writes, each with all of them, and
//! nobody waits for two. Databases know this as a commit delay. This one ends when everybody is back, and at the latest when
//! the last answer is as old as a commit usually takes.
//!
//! It does not help everywhere: who comes at times of their own only waits longer, and where the processor is what is
//! short, one group can be at work while the other is written. So both ways are tried, one after the other, and the one
//! stays with which a command is answered sooner, counted from its arrival. Fewer entries are worth a little of that time.

use core::time::Duration;
use std::collections::VecDeque;

use crate::ids::Index;
use crate::time::Time;

/// Entries after a change of ways that do not count: it takes a while until callers go as the new way has them go.
const SETTLING: u32 = 8;
/// Entries that are compared.
const MEASURED: u32 = 32;
/// So many are enough where one way is much slower: by one part in [`CLEARLY`].
const ENOUGH: u32 = 8;
const CLEARLY: u128 = 4;
/// A way that was chosen is left alone for so many times as long as it took to try the other; twice as long each time that
/// it is chosen again, up to the second.
const STAYS: (u32, u32) = (16, 1024);
/// To hold may cost one part in so many of the time to an answer if it saves entries: one part in [`SAVES`] of them.
const WORTH: u128 = 16;
const SAVES: u128 = 4;

/// An entry under way.
struct Entry {
    index: Index,
    commands: usize,
    at: Time,
    /// How long its commands had waited then, all together.
    waited: Duration,
    /// Of which way, counting from the first.
    way: u64,
}

/// How long commands took in a number of entries.
#[derive(Clone, Copy, Default)]
struct Measure {
    entries: u32,
    commands: u128,
    nanos: u128,
}

impl Measure {
    fn add(&mut self, commands: usize, took: Duration) {
        self.entries += 1;
        self.commands += commands as u128;
        self.nanos += took.as_nanos();
    }

    fn mean(&self) -> u128 {
        self.nanos / self.commands.max(1)
    }

    /// Whether a command of these took much longer than one of those.
    fn is_clearly_slower_than(&self, other: &Self) -> bool {
        self.entries >= ENOUGH && self.mean() > other.mean() + other.mean() / CLEARLY
    }

    /// Whether these have many more commands in an entry than those.
    fn saves_entries_of(&self, other: &Self) -> bool {
        let (mine, theirs) = (u128::from(self.entries), u128::from(other.entries));
        self.commands * theirs * (SAVES - 1) >= other.commands * mine * SAVES
    }
}

/// What is known of those who propose here.
pub(super) struct Gather {
    /// Proposed and not yet answered, oldest first, and how many commands that are.
    under_way: VecDeque<Entry>,
    proposed: usize,
    /// Answered, and not back since.
    away: usize,
    answered_at: Time,
    /// How long it takes from a proposal to its answer.
    usual: Duration,
    /// Commands that wait now; when the last of them came; how long they had waited then, all together; until when
    /// they are held.
    held: usize,
    came_at: Time,
    waited: Duration,
    until: Option<Time>,
    /// Whether commands are held at present, and how often that has changed.
    holds: bool,
    way: u64,
    /// Entries that do not count yet.
    settling: u32,
    measure: Measure,
    /// Of the way that was chosen, while the other one is tried, and since when.
    chosen: Option<(Measure, Time)>,
    /// Nothing is tried before this, and for how many trials after the next.
    quiet_until: Time,
    stays: u32,
}

impl Default for Gather {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            proposed: 0,
            away: 0,
            answered_at: Time::ZERO,
            usual: Duration::ZERO,
            held: 0,
            came_at: Time::ZERO,
            waited: Duration::ZERO,
            until: None,
            holds: false,
            way: 0,
            settling: SETTLING,
            measure: Measure::default(),
            chosen: None,
            quiet_until: Time::ZERO,
            stays: STAYS.0,
        }
    }
}

impl Gather {
    /// What waited is in the log: an entry with so many commands.
    pub(super) fn proposed(&mut self, now: Time, index: Index, commands: usize) {
        // If it became several entries, the first of them counts all the waiting.
        let waited = core::mem::take(&mut self.waited);
        self.under_way.push_back(Entry { index, commands, at: now, waited, way: self.way });
        self.proposed += commands;
    }

    /// Everything up to here was executed, and who proposed it was answered.
    pub(super) fn answered(&mut self, now: Time, through: Index) {
        while self.under_way.front().is_some_and(|entry| entry.index <= through) {
            let Some(entry) = self.under_way.pop_front() else { break };
            self.proposed -= entry.commands;
            self.away += entry.commands;
            self.answered_at = now;
            let (took, usual) = (now.since(entry.at), self.usual);
            self.usual = if usual.is_zero() { took } else { (usual * 7 + took) / 8 };
            if entry.way == self.way {
                let commands = u32::try_from(entry.commands).unwrap_or(u32::MAX);
                let took = entry.waited.saturating_add(took.saturating_mul(commands));
                self.learn(now, entry.commands, took);
            }
        }
    }

    /// Whether everybody who proposes one command after the other waits for one entry, the last that was proposed: nobody comes
    /// before it is written.
    pub(super) fn all_wait(&self) -> bool {
        self.holds && self.under_way.len() == 1 && self.away == 0 && self.held == 0
    }

    /// This node leads no more, or anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Until when commands that wait, so many by now, are held for others. `None` if they are to be proposed now.
    pub(super) fn hold(&mut self, now: Time, waiting: usize, limit: Duration) -> Option<Time> {
        let before = u32::try_from(self.held).unwrap_or(u32::MAX);
        let waited = if before == 0 { Duration::ZERO } else { self.waited };
        self.waited = waited.saturating_add(now.since(self.came_at).saturating_mul(before));
        self.away = self.away.saturating_sub(waiting.saturating_sub(self.held));
        (self.held, self.came_at) = (waiting, now);
        let complete = self.proposed + self.away == 0;
        if !self.holds || complete || limit.is_zero() {
            self.until = None;
        } else if self.until.is_none() {
            // Those under way are answered when it has taken as long as usual, and then they come back.
            let usual = self.usual.min(limit);
            let answered = self.under_way.back().map_or(self.answered_at, |entry| entry.at + usual);
            self.until = Some(answered + usual);
        }
        self.until = self.until.filter(|until| now < *until);
        if self.until.is_none() {
            // Who is not back by now is not waited for again.
            (self.held, self.away) = (0, 0);
        }
        self.until
    }

    /// An entry of the present way was answered. Now and then the other way is tried, and stays if it is the better one.
    fn learn(&mut self, now: Time, commands: usize, took: Duration) {
        if now < self.quiet_until {
            return;
        }
        if self.settling > 0 {
            self.settling -= 1;
            return;
        }
        self.measure.add(commands, took);
        let clear =
            self.chosen.as_ref().is_some_and(|(chosen, _)| self.measure.is_clearly_slower_than(chosen));
        if self.measure.entries < MEASURED && !clear {
            return;
        }
        let measure = core::mem::take(&mut self.measure);
        let Some((chosen, since)) = self.chosen.take() else {
            self.chosen = Some((measure, now));
            self.turn_to(!self.holds);
            return;
        };
        let (held, not_held) = if self.holds { (measure, chosen) } else { (chosen, measure) };
        let allowed = if held.saves_entries_of(&not_held) { not_held.mean() / WORTH } else { 0 };
        let holds = held.mean() < not_held.mean() + allowed;
        if holds == self.holds {
            self.stays = STAYS.0;
        } else {
            self.stays = (self.stays * 2).min(STAYS.1);
            self.turn_to(holds);
        }
        self.quiet_until = now + now.since(since).saturating_mul(self.stays);
    }

    fn turn_to(&mut self, holds: bool) {
        self.holds = holds;
        self.way += 1;
        self.settling = SETTLING;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MICRO: u64 = 1000;
    const LIMIT: Duration = Duration::from_millis(1);

    #[derive(Debug)]
    enum Event {
        /// Commands come.
        Came(usize),
        /// The journal has written all up to there.
        Written(u64),
        /// The time that was said for what is held.
        Due,
    }

    /// A node with a journal that takes its time for a write and more for each command of it. Callers come back some
    /// time after their answer, or not at all.
    struct Model<'a> {
        gather: Gather,
        limit: Duration,
        events: BTreeMap<(u64, u64), Event>,
        number: u64,
        now: u64,
        write: u64,
        each: u64,
        back: &'a mut dyn FnMut() -> Option<(u64, usize)>,
        waiting: Vec<u64>,
        log: Vec<Vec<u64>>,
        durable: usize,
        writing: bool,
        took: Vec<u64>,
        /// Commands of each write.
        writes: Vec<usize>,
        /// Entries are committed so long after they were proposed, without a journal that does one after the other.
        pipelined: Option<u64>,
        longest_hold: u64,
    }

    impl<'a> Model<'a> {
        fn new(
            limit: Duration,
            write: u64,
            each: u64,
            back: &'a mut dyn FnMut() -> Option<(u64, usize)>,
        ) -> Self {
            Self {
                gather: Gather::default(),
                limit,
                events: BTreeMap::new(),
                number: 0,
                now: 0,
                write,
                each,
                back,
                waiting: Vec::new(),
                log: Vec::new(),
                durable: 0,
                writing: false,
                took: Vec::new(),
                writes: Vec::new(),
                pipelined: None,
                longest_hold: 0,
            }
        }

        fn at(&mut self, at: u64, event: Event) {
            self.number += 1;
            self.events.insert((at, self.number), event);
        }

        fn step(&mut self) -> bool {
            let Some(((now, _), event)) = self.events.pop_first() else { return false };
            self.now = now;
            let time = Time::from_nanos(now);
            match event {
                Event::Came(count) => self.waiting.extend(core::iter::repeat_n(now, count)),
                Event::Written(upto) => {
                    self.writing = false;
                    self.gather.answered(time, Index(upto));
                    for came in self.log[self.durable..upto as usize].concat() {
                        self.took.push(now - came);
                        if let Some((back, count)) = (self.back)() {
                            self.at(now + back, Event::Came(count));
                        }
                    }
                    self.durable = upto as usize;
                }
                Event::Due => {}
            }
            if !self.waiting.is_empty() {
                match self.gather.hold(time, self.waiting.len(), self.limit) {
                    Some(until) => self.at(until.as_nanos(), Event::Due),
                    None => {
                        let group = core::mem::take(&mut self.waiting);
                        self.longest_hold = self.longest_hold.max(now - group[0]);
                        let index = self.log.len() as u64 + 1;
                        self.gather.proposed(time, Index(index), group.len());
                        self.log.push(group);
                        if let Some(commit) = self.pipelined {
                            self.at(now + commit, Event::Written(index));
                        }
                    }
                }
            }
            if self.pipelined.is_none() && !self.writing && self.durable < self.log.len() {
                self.writing = true;
                let commands: usize = self.log[self.durable..].iter().map(Vec::len).sum();
                self.writes.push(commands);
                self.at(
                    now + self.write + self.each * commands as u64,
                    Event::Written(self.log.len() as u64),
                );
            }
            true
        }

        /// The mean time to an answer, in microseconds, of the last half.
        fn run(&mut self, answers: usize) -> u64 {
            while self.took.len() < answers && self.step() {}
            let last = &self.took[self.took.len() / 2..];
            last.iter().sum::<u64>() / last.len() as u64 / MICRO
        }
    }

    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        }
    }

    /// Callers that propose one command after the other, after `think` in the mean: the mean time to an answer, and how
    /// many commands a write has.
    fn closed(limit: Duration, callers: usize, think: Think) -> (u64, usize) {
        let mut random = random(callers as u64);
        let mut back = || {
            let back = match think {
                Think::Near(micros) => (micros * 2 / 3 + random() % (micros * 2 / 3)) * MICRO,
                Think::Any(micros) => {
                    // Exponentially distributed.
                    let part = (random() % 1_000_000 + 1) as f64 / 1e6;
                    (-part.ln() * (micros * MICRO) as f64) as u64 + 1
                }
            };
            Some((back, 1))
        };
        let mut model = Model::new(limit, 250 * MICRO, MICRO, &mut back);
        (0..callers as u64).for_each(|at| model.at(at * 10 * MICRO, Event::Came(1)));
        let mean = model.run(callers * 5_000);
        assert!(model.longest_hold <= 2 * LIMIT.as_nanos() as u64);
        let writes = &model.writes[model.writes.len() / 2..];
        (mean, writes.iter().sum::<usize>() / writes.len())
    }

    #[derive(Clone, Copy)]
    enum Think {
        Near(u64),
        Any(u64),
    }

    #[test]
    fn callers_in_a_closed_loop_go_together_and_are_answered_sooner() {
        for callers in [4, 16, 64] {
            let (apart, half) = closed(Duration::ZERO, callers, Think::Near(60));
            let (together, all) = closed(LIMIT, callers, Think::Near(60));
            assert!(half <= callers * 2 / 3, "{half} of {callers} are written together by themselves");
            assert!(all >= callers * 9 / 10, "{all} of {callers} are written together");
            assert!(together * 10 <= apart * 9, "{callers} callers: {together} us instead of {apart}");
        }
    }

    #[test]
    fn nobody_else_is_waited_for_by_one_caller() {
        assert_eq!(closed(LIMIT, 1, Think::Near(60)), (251, 1), "a write, and no more");
    }

    /// As a 1/16 is worth it, and trying is not free.
    fn hardly_longer(held: u64, not: u64, who: &str) {
        assert!(held * 100 <= not * 108, "{who}: {held} us instead of {not}");
    }

    #[test]
    fn callers_who_take_their_time_wait_hardly_longer() {
        for callers in [4, 16, 64] {
            for think in [60, 300, 1_000, 3_000] {
                let (held, _) = closed(LIMIT, callers, Think::Any(think));
                let (not, _) = closed(Duration::ZERO, callers, Think::Any(think));
                hardly_longer(held, not, &format!("{callers} callers that think for {think} us"));
            }
        }
    }

    #[test]
    fn who_comes_when_they_like_waits_hardly_longer() {
        for pipelined in [None, Some(2_000 * MICRO), Some(10_000 * MICRO), Some(50_000 * MICRO)] {
            for every in [3, 10, 20, 100, 400] {
                let mean = |limit| {
                    let mut random = random(every);
                    let mut back = || None;
                    let each = if every < 5 { 100 } else { MICRO };
                    let mut model = Model::new(limit, 250 * MICRO, each, &mut back);
                    model.pipelined = pipelined;
                    let mut at = 0;
                    for _ in 0..100_000 {
                        at += random() % (2 * every * MICRO);
                        model.at(at, Event::Came(1));
                    }
                    let mean = model.run(100_000);
                    assert!(model.longest_hold <= 2 * limit.as_nanos() as u64);
                    mean
                };
                let (held, not) = (mean(LIMIT), mean(Duration::ZERO));
                hardly_longer(held, not, &format!("one every {every} us, commit {pipelined:?} ns"));
            }
        }
    }

    #[test]
    fn a_caller_of_many_and_of_one_in_turn_does_not_wait_for_itself() {
        let mean = |limit| {
            let mut answers = 0_u64;
            let mut back = || {
                answers += 1;
                // One when all twenty are answered, then twenty again.
                match answers % 21 {
                    20 => Some((60 * MICRO, 1)),
                    0 => Some((60 * MICRO, 20)),
                    _ => None,
                }
            };
            let mut model = Model::new(limit, 250 * MICRO, 0, &mut back);
            model.at(0, Event::Came(20));
            let mean = model.run(100_000);
            (mean, model.writes.len())
        };
        assert_eq!(mean(Duration::ZERO), (250, 9_523));
        // But for the trials.
        let (held, writes) = mean(LIMIT);
        assert!((250..=252).contains(&held) && writes == 9_523, "{held} us, {writes} writes");
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_once() {
        let mut answers = 0;
        let mut back = || {
            answers += 1;
            // Then all but one go.
            let goes = (20_000..20_016).contains(&answers) && answers % 16 != 0;
            (!goes).then_some((60 * MICRO, 1))
        };
        let mut model = Model::new(LIMIT, 250 * MICRO, 0, &mut back);
        (0..16).for_each(|at| model.at(at * 10 * MICRO, Event::Came(1)));
        model.run(20_200);
        let alone = &model.took[model.took.len() - 100..];
        assert!(alone.iter().all(|took| *took == 250 * MICRO), "{alone:?}");
        let longest = model.took[20_000..].iter().max();
        assert!(longest <= Some(&(3 * 250 * MICRO)), "{longest:?} ns: twice as long as usual, and the write");
    }

    /// A group that is held is alone while it is written, and until it is answered; the second of two is not.
    #[test]
    fn all_wait_for_the_one_entry_that_holds_them() {
        let time = |micros: u64| Time::from_nanos(micros * MICRO);
        let mut gather = Gather { holds: true, settling: u32::MAX, ..Gather::default() };
        assert!(!gather.all_wait(), "nothing was proposed");
        gather.proposed(time(0), Index(1), 100);
        assert!(gather.all_wait());
        gather.proposed(time(10), Index(2), 100);
        assert!(!gather.all_wait(), "those of the first come back while the second is written");
        gather.answered(time(200), Index(1));
        assert!(!gather.all_wait(), "they do now");
        let held = gather.hold(time(210), 60, LIMIT);
        assert!(held.is_some() && !gather.all_wait(), "60 are held");

        let mut gather = Gather { settling: u32::MAX, ..Gather::default() };
        gather.proposed(time(0), Index(1), 100);
        assert!(!gather.all_wait(), "nobody is held for others");
    }

    #[test]
    fn who_waits_is_told_until_when_and_that_comes_true() {
        let time = |micros: u64| Time::from_nanos(micros * MICRO);
        let mut gather = Gather { holds: true, settling: u32::MAX, ..Gather::default() };
        assert_eq!(gather.hold(time(0), 3, LIMIT), None, "nobody else is known");
        gather.proposed(time(0), Index(1), 3);
        assert_eq!(gather.hold(time(10), 1, LIMIT), None, "it is not known how long it takes");
        gather.proposed(time(10), Index(2), 1);
        gather.answered(time(200), Index(1));
        assert_eq!(
            gather.hold(time(210), 1, LIMIT),
            Some(time(410)),
            "the second's answer, and as long again"
        );
        gather.answered(time(400), Index(2));
        assert_eq!(gather.hold(time(405), 3, LIMIT), Some(time(410)), "not put off by an answer");
        assert_eq!(gather.hold(time(410), 3, LIMIT), None, "no longer");
        gather.proposed(time(410), Index(3), 3);
        assert_eq!(gather.hold(time(420), 1, Duration::ZERO), None, "a limit of nothing");
        gather.forget();
        assert_eq!(gather.hold(time(430), 1, LIMIT), None, "of another term nothing is known");
    }

    #[test]
    fn the_way_stays_with_which_a_command_is_answered_sooner() {
        // Held and not: how long, and how many commands an entry has.
        for (held, not, holds) in [
            ((100, 16), (120, 8), true),
            ((105, 16), (100, 8), true),
            ((105, 8), (100, 8), false),
            ((110, 16), (100, 8), false),
            ((300, 16), (100, 8), false),
        ] {
            let mut gather = Gather::default();
            let (mut now, mut spent) = (0, [0, 0]);
            while now < 10_000_000 {
                let (took, commands) = if gather.holds { held } else { not };
                let was = gather.holds;
                now += took;
                let all = Duration::from_micros(took * commands as u64);
                gather.learn(Time::from_nanos(now * MICRO), commands, all);
                spent[usize::from(was)] += took;
            }
            let [apart, together] = spent;
            let tried = if holds { apart } else { together };
            assert!(tried * 50 < now, "{held:?} held, {not:?} not: {spent:?} us");
            assert!(tried > 20_000 || tried * 4 > 3_000, "{spent:?}: the other is tried now and then");
        }
    }
}
