//! Whether proposals that wait are held a little, so that those who come back go with them.
//!
//! Callers that propose one command after the other fall into two groups by themselves: while one is written, the other
//! comes, and goes as soon as the disk is free; each waits for the other's write, and each write has half of them. Held
//! until those are back who were just answered, they are one group: half as many writes, each with all of them, and
//! nobody waits for two. Databases know this as a commit delay. This one ends when everybody is back, and is at most as long
//! as a commit takes.
//!
//! It does not help everywhere: who comes at times of their own only waits longer, and where the processor is what is
//! short, one group can be at work while the other is written. So both ways are tried in turn, and the one stays with which
//! a command is answered sooner, counted from its arrival.

use core::time::Duration;
use std::collections::VecDeque;

use crate::ids::Index;
use crate::time::Time;

/// Groups after a change of ways that do not count: they are still of the way before.
const SETTLING: u32 = 8;
/// Groups that are compared.
const MEASURED: u32 = 32;
/// A way that has stayed is compared with the other after so many groups, or up to so many if it wins again and again.
const STAYS: (u32, u32) = (64, 4096);

/// To hold may cost one part in so many of the time to an answer: it saves writes and messages.
const WORTH: u128 = 16;

/// An entry under way.
struct Entry {
    index: Index,
    commands: usize,
    at: Time,
    /// How long its commands had waited then, all together.
    waited: Duration,
}

/// How long commands took in a number of groups.
#[derive(Clone, Copy, Default)]
struct Measure {
    groups: u32,
    commands: u128,
    nanos: u128,
}

impl Measure {
    fn add(&mut self, commands: usize, took: Duration) {
        self.groups += 1;
        self.commands += commands as u128;
        self.nanos += took.as_nanos();
    }

    fn mean(&self) -> u128 {
        self.nanos / self.commands.max(1)
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
    /// Commands that wait now; when the last of them came; how long they had waited then, all together.
    held: usize,
    came_at: Time,
    waited: Duration,
    /// Whether commands are held at present.
    holds: bool,
    /// Groups until the present way is measured and then compared with the other.
    stays: u32,
    left: u32,
    measure: Measure,
    /// Of the way that stays, while the other one is tried.
    stayed: Option<Measure>,
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
            holds: false,
            stays: STAYS.0,
            left: SETTLING,
            measure: Measure::default(),
            stayed: None,
        }
    }
}

impl Gather {
    /// What waited is in the log: an entry with so many commands.
    pub(super) fn proposed(&mut self, now: Time, index: Index, commands: usize) {
        // If it became several entries, the first of them counts all the waiting.
        let waited = core::mem::take(&mut self.waited);
        self.under_way.push_back(Entry { index, commands, at: now, waited });
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
            let commands = u32::try_from(entry.commands).unwrap_or(u32::MAX);
            self.learn(entry.commands, entry.waited + took.saturating_mul(commands));
        }
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
        let until = self.until(limit).filter(|until| self.holds && now < *until);
        if until.is_none() {
            // Who is not back by now is not waited for again.
            (self.held, self.away) = (0, 0);
        }
        until
    }

    /// When those are back for whom it is worth to wait.
    fn until(&self, limit: Duration) -> Option<Time> {
        if self.proposed + self.away == 0 {
            return None;
        }
        let usual = self.usual.min(limit);
        let answered = self.under_way.back().map_or(self.answered_at, |entry| entry.at + usual);
        Some(answered + usual)
    }

    /// A group was answered. Now and then the other way is tried, and stays if it is the better one.
    fn learn(&mut self, commands: usize, took: Duration) {
        if self.left > 0 {
            self.left -= 1;
            return;
        }
        self.measure.add(commands, took);
        if self.measure.groups < MEASURED {
            return;
        }
        let measure = core::mem::take(&mut self.measure);
        let Some(stayed) = self.stayed.take() else {
            self.stayed = Some(measure);
            (self.holds, self.left) = (!self.holds, SETTLING);
            return;
        };
        let (held, not_held) = if self.holds { (measure, stayed) } else { (stayed, measure) };
        let holds = held.mean() <= not_held.mean() + not_held.mean() / WORTH;
        if holds == self.holds {
            self.stays = STAYS.0;
        } else {
            self.stays = (self.stays * 2).min(STAYS.1);
        }
        (self.holds, self.left) = (holds, self.stays);
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
        back: &'a mut dyn FnMut() -> Option<u64>,
        waiting: Vec<u64>,
        log: Vec<Vec<u64>>,
        durable: usize,
        writing: bool,
        took: Vec<u64>,
        groups: Vec<usize>,
    }

    impl<'a> Model<'a> {
        fn new(limit: Duration, write: u64, each: u64, back: &'a mut dyn FnMut() -> Option<u64>) -> Self {
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
                groups: Vec::new(),
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
                        if let Some(back) = (self.back)() {
                            self.at(now + back, Event::Came(1));
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
                        self.log.push(core::mem::take(&mut self.waiting));
                        let group = self.log.last().map_or(0, Vec::len);
                        self.groups.push(group);
                        self.gather.proposed(time, Index(self.log.len() as u64), group);
                    }
                }
            }
            if !self.writing && self.durable < self.log.len() {
                self.writing = true;
                let commands: usize = self.log[self.durable..].iter().map(Vec::len).sum();
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

    /// Callers that propose one command after the other, as `limit` and their number say.
    fn closed(limit: Duration, callers: usize) -> (u64, usize) {
        let mut random = random(callers as u64);
        let mut back = || Some((40 + random() % 80) * MICRO);
        let mut model = Model::new(limit, 250 * MICRO, MICRO, &mut back);
        (0..callers as u64).for_each(|at| model.at(at * 10 * MICRO, Event::Came(1)));
        let mean = model.run(callers * 5_000);
        let groups = &model.groups[model.groups.len() / 2..];
        (mean, groups.iter().sum::<usize>() / groups.len())
    }

    #[test]
    fn callers_in_a_closed_loop_go_together_and_are_answered_sooner() {
        for callers in [4, 16, 64] {
            let (apart, half) = closed(Duration::ZERO, callers);
            let (together, group) = closed(LIMIT, callers);
            assert!(half <= callers * 2 / 3, "{half} of {callers} went together by themselves");
            assert!(group >= callers * 9 / 10, "{group} of {callers} went together");
            assert!(together * 10 <= apart * 9, "{callers} callers: {together} us instead of {apart}");
        }
    }

    #[test]
    fn nobody_else_is_waited_for_by_one_caller() {
        assert_eq!(closed(LIMIT, 1), (251, 1), "a write, and no more");
    }

    #[test]
    fn who_comes_when_they_like_waits_hardly_longer() {
        for every in [20, 100, 200, 400, 3_000] {
            let mean = |limit| {
                let mut random = random(every);
                let mut back = || None;
                let mut model = Model::new(limit, 250 * MICRO, MICRO, &mut back);
                let mut at = 0;
                for _ in 0..40_000 {
                    at += random() % (2 * every * MICRO);
                    model.at(at, Event::Came(1));
                }
                model.run(40_000)
            };
            let (held, not) = (mean(LIMIT), mean(Duration::ZERO));
            assert!(held * 100 <= not * 112, "one every {every} us: {held} us instead of {not}");
        }
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_once() {
        let mut answers = 0;
        let mut back = || {
            answers += 1;
            // Then all but one go.
            let goes = (20_000..20_016).contains(&answers) && answers % 16 != 0;
            (!goes).then_some(60 * MICRO)
        };
        let mut model = Model::new(LIMIT, 250 * MICRO, 0, &mut back);
        (0..16).for_each(|at| model.at(at * 10 * MICRO, Event::Came(1)));
        model.run(20_200);
        let alone = &model.took[model.took.len() - 100..];
        assert!(alone.iter().all(|took| *took == 250 * MICRO), "{alone:?}");
        let longest = model.took[20_000..].iter().max();
        assert!(longest <= Some(&(3 * 250 * MICRO)), "{longest:?} ns: twice as long as usual, and the write");
    }

    #[test]
    fn who_waits_is_told_until_when_and_that_comes_true() {
        let time = |micros: u64| Time::from_nanos(micros * MICRO);
        let mut gather = Gather { holds: true, left: u32::MAX, ..Gather::default() };
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
        gather.answered(time(220), Index(2));
        let usual = (200 * 7 + 210) * MICRO / 8;
        let until = Time::from_nanos(220 * MICRO + usual);
        assert_eq!(gather.hold(time(230), 3, LIMIT), Some(until), "one is missing");
        assert_eq!(gather.hold(until, 3, LIMIT), None, "no longer");
        gather.proposed(until, Index(3), 3);
        assert_eq!(gather.hold(until, 1, Duration::ZERO), None, "a limit of nothing");
        gather.forget();
        assert_eq!(gather.hold(until, 1, LIMIT), None, "of another term nothing is known");
    }

    #[test]
    fn the_way_stays_with_which_a_command_is_answered_sooner() {
        for (held, not, holds) in [(100, 120, true), (105, 100, true), (110, 100, false), (300, 100, false)] {
            let mut gather = Gather::default();
            let mut groups = [0, 0];
            for _ in 0..20_000 {
                groups[usize::from(gather.holds)] += 1;
                gather.learn(8, Duration::from_micros(8 * if gather.holds { held } else { not }));
            }
            let [apart, together] = groups;
            assert_eq!(together > apart, holds, "{held} us held, {not} us not: {groups:?} groups");
            let tried = if holds { apart } else { together };
            assert!((200..1_500).contains(&tried), "{groups:?}: the other is tried now and then");
        }
    }
}
