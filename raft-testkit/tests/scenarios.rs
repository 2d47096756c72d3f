//! Every file in `tests/scenarios` holds. `BLESS=1` writes the traces: read the difference.

use std::path::Path;

use raft_testkit::scenario::{Failure, check_folder, check_text};

#[test]
fn every_scenario_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    if let Err(failures) = check_folder(&folder, bless) {
        let all: Vec<String> = failures.iter().map(Failure::to_string).collect();
        panic!("{} scenarios do not hold; BLESS=1 writes new traces\n\n{}", all.len(), all.join("\n\n"));
    }
}

#[test]
fn a_folder_without_scenarios_fails() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/scenario");
    let failures = check_folder(&folder, false).unwrap_err();
    assert!(matches!(failures[..], [Failure::Empty { .. }]), "{failures:?}");
}

#[test]
fn commands_without_a_trace_fail() {
    let failure = check_text("new", "cluster 1\n").unwrap_err();
    assert_eq!(failure.to_string(), "new:1: commands without an expected trace; BLESS=1 writes it");
    assert!(matches!(check_text("none", "# only words\n"), Err(Failure::Empty { .. })));
}

#[test]
fn another_trace_fails_and_shows_both() {
    let failure = check_text("wrong", "cluster 1 2 3\nlead 1\n----\n1 leads term 9, log ends at 1.2\n");
    let text = failure.unwrap_err().to_string();
    assert!(text.starts_with("wrong:3: another trace"), "{text}");
    assert!(text.contains("- 1 leads term 9"), "{text}");
    assert!(text.contains("+ 1 leads term 1"), "{text}");
}

#[test]
fn mistakes_name_their_line() {
    for (text, expected) in [
        ("cluster 1\n\nfly 1\n----\n", "bad:3: no such command: fly"),
        ("cluster 1 2\ncrash 7\n----\n", "bad:2: there is no node 7"),
        ("cluster 1\nelapse 5 moons\n----\n", "bad:2: not a duration: 5"),
        ("cluster 1\nstatus 1 2\n----\n", "bad:2: unexpected: 2"),
        ("cluster 1\npropose 1 \"a\n----\n", "bad:2: a quote is not closed"),
    ] {
        let failure = check_text("bad", text).unwrap_err().to_string();
        assert!(failure.starts_with(expected), "{failure}");
    }
}

/// Liveness on random stories: whatever has happened, once nodes, disks and network work again there is one
/// leader within seconds, and all nodes commit and execute the same. (Safety is checked at every step.)
#[test]
fn random_stories_end_in_agreement() {
    for seed in 1..=300 {
        let story = random_story(seed);
        let failure = check_text("random", &story).unwrap_err();
        let Failure::Differs { difference, .. } = &failure else {
            panic!("seed {seed}: {failure}\n{story}");
        };
        let ends: Vec<&str> = difference.lines().filter_map(|line| line.trim().strip_prefix("+ ")).collect();
        let field = |line: &str, name: &str| {
            let at = line.find(name).unwrap_or_else(|| panic!("seed {seed}: {line}")) + name.len();
            line[at..].split([',', ' ']).next().map(str::to_owned)
        };
        let nodes: Vec<&&str> = ends.iter().filter(|line| line.contains(": term ")).collect();
        let leaders = nodes.iter().filter(|line| line.contains(" leader: ")).count();
        let commits: Vec<_> = nodes.iter().map(|line| field(line, "commit ")).collect();
        let applied: Vec<_> = nodes.iter().map(|line| field(line, "applied ")).collect();
        let lasts: Vec<_> = nodes.iter().map(|line| field(line, "last ")).collect();
        let same = |of: &[Option<String>]| of.iter().all(|one| *one == of[0]);
        let agreed = nodes.len() == 3 && leaders == 1 && same(&commits) && same(&lasts) && commits == applied;
        assert!(agreed, "seed {seed}: no agreement\n{}\n{story}", ends.join("\n"));
        let idle = ends.iter().filter(|line| line.contains("under way")).all(|l| l.contains(" 0 bytes"));
        assert!(idle, "seed {seed}: something is under way still\n{}\n{story}", ends.join("\n"));
    }
}

fn random_story(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let tail = if seed.is_multiple_of(2) { 0 } else { 100_000 };
    let keep = [0, 300, 100_000][(seed % 3) as usize];
    let mut story = format!(
        "cluster 1 2 3 seed={seed} tail-bytes={tail} tail-keep-bytes={keep} append-bytes=200 window-messages=3 apply-bytes=200\nquiet on\n"
    );
    let mut up = [true; 3];
    for step in 0..120 {
        let node = draw(3) + 1;
        let other = (node + draw(2)) % 3 + 1;
        let lives = up[node as usize - 1];
        let line = match draw(22) {
            0..=5 => format!("deliver {node}->{other}"),
            6 => "deliver".to_owned(),
            7 => format!("drop {node}->{other}"),
            8 => format!("duplicate {node}->{other}"),
            9 => format!("reorder {node}->{other}"),
            10 => format!("cut {node} {other}"),
            11 => "heal".to_owned(),
            12 => format!("disk {node} {}", ["hold", "one", "release"][draw(3) as usize]),
            13 if lives => {
                up[node as usize - 1] = false;
                format!("crash {node} keeping {}", draw(3))
            }
            13 | 14 if !lives => {
                up[node as usize - 1] = true;
                format!("restart {node}")
            }
            14..=15 if lives => format!("timeout {node}"),
            16 if lives => format!("propose {node} \"{step}\""),
            17 if lives => format!("propose {node} bytes={}", draw(300)),
            18 if lives => format!("read {node} {step}"),
            19 if lives => format!("{} {node} {other}", ["up", "down", "gone"][draw(3) as usize]),
            20 if lives => format!("transfer {node}"),
            _ => format!("run {}ms", draw(400)),
        };
        story.push_str(&line);
        story.push('\n');
    }
    story.push_str("heal\n");
    for node in 1..=3 {
        story.push_str(&format!("disk {node} release\n"));
        if !up[node - 1] {
            story.push_str(&format!("restart {node}\n"));
        }
    }
    story.push_str("run 5s\n");
    if seed.is_multiple_of(3) {
        // Else nobody writes, and what there is must be known everywhere all the same.
        story.push_str("propose 1 \"z\"\npropose 2 \"z\"\npropose 3 \"z\"\nrun 1s\n");
    }
    story.push_str("status 1\nstatus 2\nstatus 3\n----\n");
    story
}
