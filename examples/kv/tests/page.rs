//! The page, as a browser shows it. Needs Chromium and its driver: `cargo xtask page`.

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use browser::Browser;
use common::{Client, Cluster};

/// Where pictures go, if somebody wants them.
fn pictures() -> Option<PathBuf> {
    std::env::var_os("RAFT_PAGE_PICTURES").map(PathBuf::from)
}

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

/// The rows of the table of members.
fn cell(node: u64, column: usize) -> String {
    format!("document.querySelector('#members tr[data-key=\"{node}\"]').cells[{column}].innerText")
}

const ROLE: usize = 1;
const HEALTH: usize = 8;

/// Writes and reads through whoever leads, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let addresses: Vec<_> = cluster.nodes.iter().map(|node| node.client).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number = 0_u64;
            for address in addresses.iter().cycle() {
                let Some(mut client) = Client::try_connect(*address) else { continue };
                loop {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    number += 1;
                    let commands = format!("SET key:{} {number}\nGET key:{}", number % 512, number % 500);
                    let sent = client.try_send(&commands);
                    let replies = [client.try_reply(), client.try_reply()];
                    if sent.is_err() || replies[0].as_deref() != Some("OK") || replies[1].is_none() {
                        break;
                    }
                }
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic in it is its own.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The least contrast of any text with what is behind it (WCAG 2.2 asks for 4.5), and which text that is.
const CONTRAST: &str = r#"(() => {
  const numbers = (color) => {
    const all = color.match(/[\d.]+/g).map(Number);
    return color.startsWith("color(srgb") ? [...all.slice(0, 3).map((part) => part * 255), all[3] ?? 1] : [all[0], all[1], all[2], all[3] ?? 1];
  };
  const light = ([r, g, b]) => [r, g, b].map((part) => { part /= 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; })
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (at) => { for (; at; at = at.parentElement) { const found = numbers(getComputedStyle(at).backgroundColor); if (found[3] > 0.99) return found; } return [255, 255, 255, 1]; };
  let worst = [99, ""];
  for (const at of document.querySelectorAll("body *")) {
    const own = [...at.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !at.getClientRects().length || at.closest("script, .skip")) continue;
    const style = getComputedStyle(at);
    const [front, back] = [light(numbers(at.closest("svg") ? style.fill : style.color)), light(behind(at))];
    const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
    if (ratio < worst[0]) worst = [ratio, at.textContent.slice(0, 60)];
  }
  return worst;
})()"#;

#[track_caller]
fn is_legible(browser: &Browser) {
    let found = browser.get(CONTRAST);
    assert!(found[0].as_f64().unwrap() >= 4.5, "{found}");
}

#[track_caller]
fn fits(browser: &Browser, width: u32) {
    let widest = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)";
    assert!(browser.get(widest).as_u64().unwrap() <= u64::from(width), "it is wider than {width}");
}

fn picture(browser: &Browser, name: &str, width: u32, height: u32) {
    if let Some(dir) = pictures() {
        std::fs::create_dir_all(&dir).unwrap();
        browser.picture(&dir.join(format!("{name}.png")), width, height);
    }
}

#[test]
#[ignore = "needs Chromium and its driver: cargo xtask page"]
fn the_page_shows_a_cluster_and_a_failover() {
    let mut cluster = Cluster::start_http(3, &["--snapshot-every", "300"]);
    let (leader, follower) = cluster.leader_and_follower();
    let third = 3 - leader - follower;
    let [leads, follows, other] = [leader, follower, third].map(|at| cluster.nodes[at].id);
    let load = Load::start(&cluster);
    let browser = Browser::start();
    browser.resize(1280, 900, 1, false);
    browser.scheme("light");
    browser.open(&format!("http://{}/", cluster.nodes[follower].http.unwrap()));

    // What it says.
    browser.wait(&format!("document.getElementById('who').innerText === 'Node {leads} leads'"));
    browser.wait("document.getElementById('answering').innerText === 'all 3 nodes answer'");
    for (node, role) in [(leads, "leader"), (follows, "follower"), (other, "follower")] {
        browser.wait(&format!("{}.startsWith('{role}')", cell(node, ROLE)));
        browser.wait(&format!("{}.startsWith('green')", cell(node, HEALTH)));
    }
    browser.wait("/^[1-9][\\d,]*\\/s$/.test(document.getElementById('writes').innerText)");
    browser.wait("document.getElementById('p99').innerText.endsWith('s')");
    browser.wait("document.querySelector('#plot-rate path.a').getAttribute('d').split('L').length > 3");
    browser.wait("document.querySelector('#storage').innerText.includes('file, fsync always')");
    browser.wait(concat!(
        "document.querySelector('#storage').innerText.includes('raft-kv ",
        env!("CARGO_PKG_VERSION"),
        "')"
    ));
    browser.wait("document.querySelector('#queues').innerText.includes('of 32.0 MiB')");
    browser.wait("[...document.querySelectorAll('#timeline .elected')].length >= 1");
    assert_eq!(browser.get("page.refused.size"), 0, "the policy has refused something");

    // For who hears it.
    let aloud = browser.read_aloud();
    let named = |role: &str, part: &str| aloud.iter().any(|(r, name)| r == role && name.contains(part));
    for (role, part) in [
        ("table", "Members"),
        ("columnheader", "Committed"),
        ("rowheader", &format!("Node {leads}")),
        ("image", "Commands a second in the last minute. Writes: now"),
        ("image", &format!("Node {leads}: journal from ")),
        ("button", "Pause"),
        ("list", "Timeline"),
        ("checkbox", "leaders and failures only"),
        ("heading", "Journal and snapshots"),
        ("link", "Skip to the members"),
    ] {
        assert!(named(role, part), "no {role} {part:?} among {aloud:#?}");
    }
    assert_eq!(browser.get("document.getElementById('announce').getAttribute('aria-live')"), "polite");
    assert_eq!(browser.get("document.documentElement.lang"), "en");

    // For who has a keyboard.
    browser.press(&[TAB]);
    assert_eq!(browser.text("document.activeElement.innerText"), "Skip to the members");
    assert!(browser.get("document.activeElement.getBoundingClientRect().left").as_f64() >= Some(0.0));
    assert_ne!(browser.text("getComputedStyle(document.activeElement).outlineStyle"), "none");
    browser.press(&[ENTER]);
    browser.wait("location.hash === '#members' && document.activeElement.id === 'members'");
    browser.press(&["p"]);
    assert_eq!(browser.get("document.getElementById('pause').getAttribute('aria-pressed')"), "true");
    browser.press(&["p"]);
    assert_eq!(browser.get("document.getElementById('pause').getAttribute('aria-pressed')"), "false");
    let mut reached = Vec::new();
    browser
        .get("document.activeElement.blur(), window.getSelection().removeAllRanges(), document.body.focus()");
    for _ in 0..12 {
        browser.press(&[TAB]);
        reached.push(browser.text("document.activeElement.id || document.activeElement.tagName"));
    }
    for wanted in ["SUMMARY", "few", "timeline"] {
        assert!(reached.iter().any(|id| id == wanted), "{wanted} is not among {reached:?}");
    }
    browser.get("document.activeElement.blur(), scrollTo(0, 0)");

    // Day, night, and a phone.
    browser.wait("document.querySelector('#storage').innerText.includes(' taken') && /at [\\d,]+/.test(document.querySelector('#storage').innerText)");
    fits(&browser, 1280);
    is_legible(&browser);
    picture(&browser, "page-light", 1280, 1500);
    browser.scheme("dark");
    is_legible(&browser);
    picture(&browser, "page-dark", 1280, 1500);
    for width in [390, 320] {
        browser.resize(width, 844, 2, true);
        browser.wait(&format!("innerWidth === {width}"));
        fits(&browser, width);
        let aloud = browser.read_aloud();
        assert!(
            aloud.iter().any(|(role, name)| role == "rowheader" && name.contains("Node 1")),
            "no rows are left"
        );
    }
    browser.resize(390, 844, 2, true);
    browser.scheme("light");
    picture(&browser, "page-phone", 390, 1250);
    browser.resize(1280, 900, 1, false);

    // The leader dies.
    let term = browser.get("model().leader.term").as_u64().unwrap();
    cluster.nodes[leader].kill();
    browser.wait(&format!("{}.startsWith('no answer')", cell(leads, ROLE)));
    browser
        .wait(&format!("/^Node [{follows}{other}] leads$/.test(document.getElementById('who').innerText)"));
    browser.wait(&format!("model().leader.term > {term}"));
    browser.wait(&format!(
        "[...document.querySelectorAll('#timeline .elected')].some((at) => Number(/^elected: leads in term (\\d+)/.exec(at.innerText)[1]) > {term})"
    ));
    browser.wait(&format!(
        "[...document.querySelectorAll('#timeline .k-page')].some((at) => at.innerText === 'node {leads} does not answer')"
    ));
    browser
        .wait(&format!("document.getElementById('answering').innerText === 'node {leads} does not answer'"));
    browser.wait("document.getElementById('announce').innerText.length > 0");
    browser.wait("document.getElementById('health').innerText === 'yellow'");
    browser.wait("document.getElementById('reasons').innerText.includes('one failure from no quorum')");
    browser.wait("document.querySelector('#plot-rate line.change')");
    is_legible(&browser);
    picture(&browser, "page-failover", 1280, 1250);

    // It comes back.
    cluster.nodes[leader].start();
    browser.wait(&format!("{}.startsWith('follower')", cell(leads, ROLE)));
    browser.wait("document.getElementById('answering').innerText === 'all 3 nodes answer'");
    browser.wait("document.getElementById('health').innerText === 'green'");

    // The node that the page came from dies: it goes on with the others.
    cluster.nodes[follower].kill();
    browser.wait(&format!(
        "document.getElementById('notice').innerText.startsWith('This page came from node {follows}, ')"
    ));
    browser.wait(&format!(
        "[...document.querySelectorAll('#notice a')].some((at) => at.href === 'http://{}/')",
        cluster.nodes[leader].http.unwrap()
    ));
    browser.wait(&format!("/^Node [{leads}{other}] leads$/.test(document.getElementById('who').innerText)"));
    browser.wait(&format!("{}.startsWith('no answer')", cell(follows, ROLE)));
    cluster.nodes[follower].start();
    browser.wait("document.getElementById('notice').hidden");
    drop(load);
}
