//! A run as a picture: one file of HTML and SVG that needs nothing else. Time goes to the right; each node
//! is a lane, coloured by its role; messages are arrows from lane to lane.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use raft_testkit::sim::events::{Event, Tag};
use raft_testkit::sim::{Outcome, Plan};

/// One second, in nanoseconds of virtual time.
const S: u64 = 1_000_000_000;

/// Pixels of a second before anybody zooms.
const SECOND: u64 = 1 << 10;

/// Where time begins, and where the first lane does.
const LEFT: u64 = 70;
const TOP: u64 = 70;

/// From one lane to the next, and how high a lane's bar is.
const LANE: u64 = 90;
const BAR: u64 = 16;

/// The part of the run that is drawn, in nanoseconds; without the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    from: u64,
    to: u64,
}

impl Window {
    /// From there to there, in seconds. What is not given is so that the last 2 s before a violation are
    /// drawn, or the first 5 s of a run without.
    pub(crate) fn new(from: Option<f64>, to: Option<f64>, outcome: &Outcome) -> Self {
        let nanos = |seconds: f64| (seconds.max(0.0) * 1e9) as u64;
        let violation = outcome.violation.as_ref().map(|violation| violation.at);
        let (from, to) = (from.map(nanos), to.map(nanos));
        let from = match (from, to, violation) {
            (Some(from), _, _) => from,
            (None, Some(to), _) => to.saturating_sub(2 * S),
            (None, None, Some(at)) => at.saturating_sub(2 * S),
            (None, None, None) => 0,
        };
        let to = match (to, violation) {
            (Some(to), _) => to,
            (None, Some(at)) if at >= from => at.saturating_add(S / 50),
            _ => from.saturating_add(5 * S),
        };
        Self { from, to: to.max(from.saturating_add(1)) }
    }

    const fn holds(self, at: u64) -> bool {
        self.from <= at && at < self.to
    }

    /// Microseconds from the beginning; what lies outside is put at the edge.
    fn micros(self, at: u64) -> u64 {
        (at.clamp(self.from, self.to) - self.from) / 1000
    }

    /// The same as pixels, before anybody zooms.
    fn x(self, at: u64) -> u64 {
        LEFT + self.micros(at) * SECOND / 1_000_000
    }

    const fn meets(self, from: u64, to: u64) -> bool {
        from < self.to && to >= self.from
    }
}

/// Text that stands for itself, wherever it is put.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrived,
    Lost,
    Never,
}

struct Picture<'a> {
    window: Window,
    nodes: u64,
    body: String,
    /// Which message left when: by its number.
    sent: BTreeMap<u64, &'a Event>,
    /// Messages that have arrived or are lost.
    settled: BTreeMap<u64, ()>,
    /// Since when each node has its role, and which.
    roles: BTreeMap<u64, (u64, u64, String)>,
    /// Since when each node writes.
    writes: BTreeMap<u64, (u64, String)>,
}

/// Draws a run.
pub(crate) fn render(plan: &Plan, outcome: &Outcome, window: Window) -> String {
    let mut picture = Picture {
        window,
        nodes: plan.nodes as u64,
        body: String::new(),
        sent: BTreeMap::new(),
        settled: BTreeMap::new(),
        roles: BTreeMap::new(),
        writes: BTreeMap::new(),
    };
    picture.ruler();
    for event in outcome.trace.iter().take_while(|event| event.at < window.to) {
        picture.event(event);
    }
    // What was under way when the window ended may have arrived after it.
    for event in outcome.trace.iter().filter(|event| event.at >= window.to) {
        if matches!(event.tag, Tag::Delivered | Tag::Lost) {
            picture.event(event);
        }
    }
    picture.finish();
    page(plan, outcome, &picture)
}

fn page(plan: &Plan, outcome: &Outcome, picture: &Picture<'_>) -> String {
    let window = picture.window;
    let seconds = |at: u64| at as f64 / S as f64;
    let verdict = outcome.violation.as_ref().map_or_else(
        || "no violation".to_owned(),
        |found| {
            format!("{} at {:.6} s on node {}: {}", found.checker, seconds(found.at), found.node, found.what)
        },
    );
    let mut out = String::new();
    let (seed, plan_text) = (plan.seed, plan.to_string());
    let (width, height) = (window.x(window.to) + 400, lane(picture.nodes + 1) + 60);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>seed {seed}</title>\n\
         <style>\n{}</style></head><body>\n<h1>Seed {seed}</h1>\n<p><b>{}</b></p>\n\
         <p>From {:.6} s to {:.6} s of {:.3} s. Point at anything to read what it is.</p>\n{}\
         <details><summary>Plan</summary><pre>{}</pre></details>\n\
         <p><label>Zoom <input id=\"zoom\" type=\"range\" min=\"-4\" max=\"12\" step=\"0.1\" value=\"0.034\">\
         </label></p>\n<div id=\"view\">\n\
         <svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" data-span=\"{}\" \
         data-end=\"{}\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#666\"/></marker></defs>\n",
        include_str!("html.css"),
        Plain(&verdict),
        seconds(window.from),
        seconds(window.to),
        seconds(outcome.nanos),
        KEY,
        Plain(&plan_text),
        window.micros(window.to),
        u8::from(outcome.violation.is_some()),
    );
    out.push_str(&picture.body);
    let _ = write!(out, "</svg>\n</div>\n<script>\n{}</script>\n</body></html>\n", include_str!("html.js"));
    out
}

const KEY: &str = "<p><span class=\"key\" style=\"background:#cfd8dc\">follower</span>\
    <span class=\"key\" style=\"background:#fff3b0\">pre-candidate</span>\
    <span class=\"key\" style=\"background:#ffcc80\">candidate</span>\
    <span class=\"key\" style=\"background:#a5d6a7\">leader</span>\
    <span class=\"key\" style=\"color:#5c6bc0\">write</span>\
    <span class=\"key\" style=\"color:#1b5e20\">commit</span>\
    <span class=\"key\" style=\"color:#1565c0\">append</span>\
    <span class=\"key\" style=\"color:#ef6c00\">vote</span>\
    <span class=\"key\" style=\"color:#d32f2f\">lost or never arrived</span>\
    <span class=\"key\" style=\"color:#8e24aa\">fault</span></p>\n";

/// The middle of a node's lane; the clients' lane is behind the last.
const fn lane(node: u64) -> u64 {
    TOP + (node - 1) * LANE + LANE / 2
}

impl<'a> Picture<'a> {
    fn ruler(&mut self) {
        let (window, bottom) = (self.window, lane(self.nodes + 1) + LANE / 2);
        let step = if window.to - window.from > 20 * S { S } else { S / 10 };
        let mut at = window.from.div_ceil(step) * step;
        while at < window.to {
            self.line("tick", (at, 20), (at, bottom), "");
            self.text("ticktext", at, 14, &format!("{}.{}", at / S, at % S / (S / 10)));
            at += step;
        }
        for node in 1..=self.nodes + 1 {
            let y = lane(node);
            let name = if node > self.nodes { "clients".to_owned() } else { format!("node {node}") };
            let _ = writeln!(self.body, "<text x=\"4\" y=\"{}\">{name}</text>", y + 4);
            self.line("lane", (window.from, y), (window.to, y), "");
        }
    }

    fn line(&mut self, class: &str, (from, y1): (u64, u64), (to, y2): (u64, u64), title: &str) {
        let window = self.window;
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" data-a=\"{}\" data-b=\"{}\" x1=\"{}\" y1=\"{y1}\" x2=\"{}\" y2=\"{y2}\"{}>\
             <title>{}</title></line>",
            window.micros(from),
            window.micros(to),
            window.x(from),
            window.x(to),
            if class.starts_with("msg") { " marker-end=\"url(#tip)\"" } else { "" },
            Plain(title)
        );
    }

    fn bar(&mut self, class: &str, (from, to): (u64, u64), (y, height): (u64, u64), title: &str) {
        let window = self.window;
        if !window.meets(from, to) {
            return;
        }
        let (a, b) = (window.micros(from), window.micros(to));
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" data-a=\"{a}\" data-b=\"{b}\" x=\"{}\" width=\"{}\" y=\"{y}\" \
             height=\"{height}\"><title>{}</title></rect>",
            window.x(from),
            (window.x(to) - window.x(from)).max(1),
            Plain(title)
        );
    }

    fn text(&mut self, class: &str, at: u64, y: u64, text: &str) {
        let window = self.window;
        let (a, x) = (window.micros(at), window.x(at) + 3);
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" data-a=\"{a}\" x=\"{x}\" y=\"{y}\">{}</text>",
            Plain(text)
        );
    }

    fn dot(&mut self, class: &str, event: &Event, y: u64) {
        let window = self.window;
        if !window.holds(event.at) {
            return;
        }
        let (a, x) = (window.micros(event.at), window.x(event.at));
        let _ = writeln!(
            self.body,
            "<circle class=\"{class}\" data-a=\"{a}\" cx=\"{x}\" cy=\"{y}\" r=\"4\"><title>{}</title></circle>",
            Plain(&event.to_string())
        );
    }

    /// A line through all lanes, with what it is beside it.
    fn mark(&mut self, class: &str, event: &Event, y: u64) {
        if self.window.holds(event.at) {
            let bottom = lane(self.nodes + 1) + LANE / 2;
            self.line(class, (event.at, 24), (event.at, bottom), &event.to_string());
            self.text(&format!("{class}text"), event.at, y, &event.text);
        }
    }

    fn event(&mut self, event: &'a Event) {
        let [first, second, ..] = event.numbers;
        // What has no node of its own stands with the clients.
        let y = lane(if event.node == 0 { self.nodes + 1 } else { event.node });
        match event.tag {
            Tag::Sent => {
                self.sent.insert(second, event);
            }
            Tag::Delivered => self.message(second, event.at, Fate::Arrived),
            Tag::Lost => self.message(second, event.at, Fate::Lost),
            Tag::Up => {
                self.dot("up", event, y - 14);
                // It follows until it says otherwise.
                self.role_ends(event.node, event.at);
                self.roles.insert(event.node, (event.at, 1, event.to_string()));
            }
            Tag::Down => {
                self.dot("down", event, y - 14);
                self.role_ends(event.node, event.at);
                self.write_ends(event.node, event.at, "cut short");
            }
            Tag::Role => {
                self.role_ends(event.node, event.at);
                self.roles.insert(event.node, (event.at, first, event.to_string()));
            }
            Tag::Commit => self.dot("commit", event, y + 14),
            Tag::Snapshot => self.dot("snapshot", event, y + 20),
            Tag::Purge => self.dot("purge", event, y + 20),
            Tag::Write => {
                self.writes.insert(event.node, (event.at, event.text.clone()));
            }
            Tag::Written => self.write_ends(event.node, event.at, &event.text),
            Tag::Fault if second == 1 => self.mark("fault", event, 34 + first % 3 * 12),
            Tag::Note if first == 1 => self.mark("violation", event, 66),
            Tag::Asked => self.dot("asked", event, y - 10 + first % 5 * 5),
            Tag::Answered => self.dot("answered", event, y - 10 + first % 5 * 5),
            Tag::Fault | Tag::Note | Tag::Link | Tag::Disk => {}
        }
    }

    fn role_ends(&mut self, node: u64, at: u64) {
        if let Some((since, role, title)) = self.roles.remove(&node) {
            self.bar(&format!("role{role}"), (since, at), (lane(node) - BAR / 2, BAR), &title);
        }
    }

    fn write_ends(&mut self, node: u64, at: u64, how: &str) {
        if let Some((since, what)) = self.writes.remove(&node) {
            let title = format!("n{node} write {what}; {how}");
            self.bar("disk", (since, at), (lane(node) + BAR / 2, 4), &title);
        }
    }

    /// What became of a message; it may become of it twice.
    fn message(&mut self, number: u64, at: u64, fate: Fate) {
        let Some(sent) = self.sent.get(&number).copied() else { return };
        self.settled.insert(number, ());
        if !self.window.meets(sent.at, at) {
            return;
        }
        let [to, _, kind, _] = sent.numbers;
        let (class, note) = match (fate, kind) {
            (Fate::Arrived, 0..=2) => ("msg vote", "arrived"),
            (Fate::Arrived, 3 | 4) => ("msg beat", "arrived"),
            (Fate::Arrived, 5 | 6) => ("msg append", "arrived"),
            (Fate::Arrived, _) => ("msg", "arrived"),
            (Fate::Lost, _) => ("msg lost", "lost"),
            (Fate::Never, _) => ("msg never", "never arrived"),
        };
        // Arrows that cross the window's edge keep their slope.
        let (y1, y2) = (lane(sent.node), lane(to));
        let height = |t: u64| {
            let way = t.clamp(self.window.from, self.window.to).saturating_sub(sent.at) as f64;
            let part = way / (at.saturating_sub(sent.at)).max(1) as f64;
            (y1 as f64 + (y2 as f64 - y1 as f64) * part.min(1.0)) as u64
        };
        let end = if at <= sent.at { y2 } else { height(at) };
        let title = format!("{sent}; {note} after {} us", (at - sent.at) / 1000);
        self.line(class, (sent.at, height(sent.at)), (at, end), &title);
    }

    /// What is still going on.
    fn finish(&mut self) {
        let end = self.window.to;
        for node in 1..=self.nodes {
            self.role_ends(node, end);
            self.write_ends(node, end, "goes on");
        }
        let never: Vec<u64> = self.sent.keys().copied().filter(|n| !self.settled.contains_key(n)).collect();
        for number in never {
            if let Some(sent) = self.sent.get(&number) {
                let at = sent.at + S / 200;
                self.message(number, at, Fate::Never);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use raft_testkit::sim::oracle::Violation;

    use super::*;

    fn event(at: u64, node: u64, tag: Tag, numbers: [u64; 4], text: &str) -> Event {
        Event { at, node, tag, numbers, text: text.into() }
    }

    fn plan() -> Plan {
        Plan::draw(1, Some(3))
    }

    fn count(text: &str, what: &str) -> usize {
        text.matches(what).count()
    }

    #[test]
    fn the_window_is_where_something_is_to_be_seen() {
        let calm = Outcome::default();
        assert_eq!(Window::new(None, None, &calm), Window { from: 0, to: 5 * S });
        assert_eq!(Window::new(Some(3.0), None, &calm), Window { from: 3 * S, to: 8 * S });
        assert_eq!(Window::new(None, Some(3.0), &calm), Window { from: S, to: 3 * S });
        assert_eq!(Window::new(Some(4.0), Some(3.0), &calm), Window { from: 4 * S, to: 4 * S + 1 });
        let violation = Violation { checker: "x", at: 9 * S, node: 1, what: String::new() };
        let found = Outcome { violation: Some(violation), ..Outcome::default() };
        assert_eq!(Window::new(None, None, &found), Window { from: 7 * S, to: 9 * S + S / 50 });
        assert_eq!(Window::new(Some(10.0), None, &found), Window { from: 10 * S, to: 15 * S });
    }

    #[test]
    fn every_message_is_drawn_with_what_became_of_it() {
        let sent = |at, number| event(at, 1, Tag::Sent, [2, number, 5, 1], "to n2");
        let trace = vec![
            sent(10, 1),
            sent(20, 2),
            sent(30, 3),
            event(40, 2, Tag::Delivered, [1, 1, 0, 0], ""),
            event(50, 2, Tag::Delivered, [1, 1, 0, 0], ""),
            event(60, 2, Tag::Lost, [1, 2, 0, 0], ""),
        ];
        let outcome = Outcome { trace, ..Outcome::default() };
        let text = render(&plan(), &outcome, Window { from: 0, to: S });
        assert_eq!(count(&text, "class=\"msg append\""), 2, "it came twice");
        assert_eq!(count(&text, "class=\"msg lost\""), 1);
        assert_eq!(count(&text, "class=\"msg never\""), 1);
        // Nothing of it where nothing of it happens.
        let later = render(&plan(), &outcome, Window { from: S, to: 2 * S });
        assert_eq!(count(&later, "class=\"msg"), 0);
    }

    #[test]
    fn roles_end_where_the_next_begins_and_with_the_node() {
        let trace = vec![
            event(0, 1, Tag::Up, [0; 4], ""),
            event(1_000_000, 1, Tag::Role, [4, 1, 1, 0], "leader"),
            event(3_000_000, 1, Tag::Down, [0; 4], "killed"),
        ];
        let outcome = Outcome { trace, ..Outcome::default() };
        let text = render(&plan(), &outcome, Window { from: 0, to: S });
        assert!(text.contains("<rect class=\"role1\" data-a=\"0\" data-b=\"1000\""), "{text}");
        assert!(text.contains("<rect class=\"role4\" data-a=\"1000\" data-b=\"3000\""), "{text}");
        assert_eq!(count(&text, "<rect class=\"role"), 2);
    }

    #[test]
    fn text_from_the_run_is_no_markup() {
        let evil = "</svg><script>alert(\"1\" & '2')</script>";
        let trace =
            vec![event(5, 0, Tag::Fault, [0, 1, 0, 0], evil), event(6, 1, Tag::Note, [1, 0, 0, 0], evil)];
        let violation = Violation { checker: "x", at: 6, node: 1, what: evil.into() };
        let outcome = Outcome { trace, violation: Some(violation), ..Outcome::default() };
        let text = render(&plan(), &outcome, Window { from: 0, to: S });
        assert!(!text.contains("alert(\""), "{text}");
        assert_eq!(count(&text, "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)"), 5);
        assert_eq!((count(&text, "<script"), count(&text, "</svg>")), (1, 1));
        assert!(!text.contains(" src=") && !text.contains(" href="));
    }

    #[test]
    fn a_run_is_drawn_the_same_each_time() {
        let plan = Plan::draw(1, Some(3));
        let draw = || {
            let outcome = raft_testkit::sim::run(&plan, true);
            render(&plan, &outcome, Window::new(None, Some(3.0), &outcome))
        };
        let text = draw();
        assert_eq!(text, draw());
        for class in ["role1", "role4", "msg append", "disk", "commit", "answered"] {
            assert!(text.contains(&format!("class=\"{class}\"")), "{class}");
        }
    }
}
