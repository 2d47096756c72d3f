//! Fuzz targets that are plain tests too. Shared by the tests named `fuzz_*` of several packages, as a
//! file and not as a crate, so that raft-core's tests can have it without a circle.
//!
//! A target is a function of bytes that must neither panic, nor hang, nor allocate more than it says.
//! `cargo test` gives it what is stored in `tests/corpus/NAME` of its package, its own valid inputs and
//! some thousand mutations of them, the same every time. `cargo xtask fuzz NAME` gives it mutated inputs
//! for as long as one likes: through libFuzzer, with coverage as its guide, where that can be built (then
//! `cfg(fuzzing)` is set), else through [`mutate`].
//!
//! | variable | meaning |
//! | --- | --- |
//! | `RAFT_FUZZ_TARGET` | libFuzzer's target, of those in its program |
//! | `RAFT_FUZZ_SECONDS` | mutates for so long |
//! | `RAFT_FUZZ_SEED` | decides the mutations; 1 |
//! | `RAFT_FUZZ_ARTIFACTS` | the folder for inputs that fail |
//! | `RAFT_FUZZ_EXPORT` | only writes what is known into this folder: `inputs`, `dictionary`, `longest` |
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test and each engine uses its part")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of raft-core, not raft-core")]

pub mod edits;
mod mutate;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use cap::Cap;
use mutate::Mutator;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

/// A run that takes longer hangs.
const HANG: Duration = Duration::from_secs(30);

/// Set in the process that a test starts for itself.
const ALONE: &str = "RAFT_FUZZ_ALONE";

/// Something that takes bytes from others.
pub struct Target {
    /// Its name, in the command line and in `tests/corpus`.
    pub name: &'static str,
    /// Panics if the bytes do something to it that they must not.
    pub run: fn(&[u8]),
    /// Valid inputs, from the code that writes them today.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something to it.
    pub words: &'static [&'static [u8]],
    /// What one run may allocate, in bytes: all it asks for, though it gives it back.
    pub allowance: Allowance,
    /// Longer inputs are not tried, in bytes.
    pub longest: usize,
    /// Mutated inputs in a plain test.
    pub plain: u64,
}

/// What a run may allocate.
#[derive(Clone, Copy)]
pub struct Allowance {
    /// Whatever the input is, in bytes.
    pub fixed: usize,
    /// For each byte of it.
    pub per_byte: usize,
}

impl Allowance {
    pub const fn new(fixed: usize, per_byte: usize) -> Self {
        Self { fixed, per_byte }
    }

    const fn of(self, input: &[u8]) -> usize {
        self.fixed + self.per_byte * input.len()
    }
}

/// Makes a test of each target, of the same name, or all of them one program of libFuzzer.
macro_rules! targets {
    ($($test:ident = $target:expr;)*) => {
        $(
            #[cfg(not(fuzzing))]
            #[test]
            fn $test() {
                crate::fuzz::test(&$target, stringify!($test), env!("CARGO_MANIFEST_DIR"));
            }
        )*

        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| crate::fuzz::one(&[$(&$target),*], input));
    };
}
pub(crate) use targets;

/// Runs a target once, and checks what it allocates.
fn run(target: &Target, input: &[u8]) {
    let before = ALLOCATOR.total_allocated();
    (target.run)(input);
    let allocated = ALLOCATOR.total_allocated().wrapping_sub(before);
    let allowed = target.allowance.of(input);
    assert!(allocated <= allowed, "{allocated} bytes allocated for {} bytes of input", input.len());
}

/// A run for libFuzzer.
pub fn one(targets: &[&'static Target], input: &[u8]) {
    static CHOSEN: OnceLock<&Target> = OnceLock::new();
    let target = CHOSEN.get_or_init(|| {
        let name = variable("RAFT_FUZZ_TARGET").unwrap_or_default();
        targets.iter().find(|target| target.name == name).expect("RAFT_FUZZ_TARGET names no target")
    });
    if input.len() <= target.longest {
        run(target, input);
    }
}

/// The plain test of a target, or what the variables ask for, in a process of its own: what other tests
/// allocate meanwhile would count.
pub fn test(target: &'static Target, test: &str, package: &str) {
    if variable(ALONE).is_some() {
        alone(target, package);
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    let output = command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, "1").output();
    let output = output.expect("this program can be started again");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
    said.lines().filter(|line| line.starts_with("fuzz: ")).for_each(|line| println!("{line}"));
}

fn alone(target: &'static Target, package: &str) {
    let stored = stored(&Path::new(package).join("tests/corpus").join(target.name));
    assert!(!stored.is_empty(), "no stored inputs");
    if let Some(folder) = variable("RAFT_FUZZ_EXPORT") {
        export(target, &stored, Path::new(&folder));
        return;
    }
    let mut trial = Trial::new(target);
    for (name, input) in &stored {
        trial.run(input, || format!("the stored input {name}"));
    }
    let seeds = (target.seeds)();
    for (n, input) in seeds.iter().enumerate() {
        trial.run(input, || format!("valid input {n}"));
    }
    let seconds = variable("RAFT_FUZZ_SECONDS").and_then(|text| text.parse().ok());
    let seed = variable("RAFT_FUZZ_SEED").and_then(|text| text.parse().ok()).unwrap_or(1);
    let inputs = stored.into_iter().map(|(_, input)| input).chain(seeds).collect();
    let mut mutator = Mutator::new(inputs, target.words, target.longest, seed);
    let begin = Instant::now();
    let more = |done: u64| match seconds {
        Some(seconds) => begin.elapsed() < Duration::from_secs(seconds),
        None => done < target.plain,
    };
    let mut done = 0;
    while more(done) {
        let input = mutator.next();
        trial.run(input, || format!("mutation {done} of seed {seed}"));
        done += 1;
    }
    if seconds.is_some() {
        let (name, took) = (target.name, begin.elapsed().as_secs());
        println!("\nfuzz: target={name} engine=mutations seed={seed} executions={done} seconds={took}");
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The files of a folder, in order of their names.
fn stored(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("a stored input can be read"))
        })
        .collect();
    found.sort();
    found
}

fn export(target: &Target, stored: &[(String, Vec<u8>)], folder: &Path) {
    let inputs = folder.join("inputs");
    fs::create_dir_all(&inputs).expect("the folder for exported inputs");
    let put = |name: String, bytes: &[u8]| fs::write(inputs.join(name), bytes).expect("an exported input");
    for (name, input) in stored {
        put(format!("stored-{name}"), input);
    }
    for (n, input) in (target.seeds)().iter().enumerate() {
        put(format!("valid-{n}"), input);
    }
    let hex = |byte: &u8| format!("\\x{byte:02x}");
    let words = target.words.iter().map(|word| format!("\"{}\"\n", word.iter().map(hex).collect::<String>()));
    let words: String = words.collect();
    fs::write(folder.join("dictionary"), words).expect("the dictionary");
    fs::write(folder.join("longest"), target.longest.to_string()).expect("the limit");
}

/// Runs inputs one after the other and keeps the one that fails.
struct Trial {
    target: &'static Target,
    /// What is being run: for a run that ends the process.
    current: Option<fs::File>,
}

/// Since when a run is under way, and with what.
static UNDER_WAY: Mutex<Option<(Instant, &Target, Vec<u8>)>> = Mutex::new(None);

impl Trial {
    fn new(target: &'static Target) -> Self {
        // Where someone hunts, no input may be lost, even if the process is.
        let current = variable("RAFT_FUZZ_SECONDS").map(|_| {
            let path = artifact(target, "under-way");
            fs::File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        std::thread::spawn(watch);
        Self { target, current }
    }

    fn run(&mut self, input: &[u8], what: impl Fn() -> String) {
        if let Some(file) = &mut self.current {
            let written = file.rewind().and_then(|()| file.write_all(input));
            written.and_then(|()| file.set_len(input.len() as u64)).expect("the input under way");
        }
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), self.target, input.to_vec()));
        let end = catch_unwind(AssertUnwindSafe(|| run(self.target, input)));
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if end.is_err() {
            let path = keep(self.target, "crash", input);
            panic!("{} fails with {}; it is kept as {}", self.target.name, what(), path.display());
        }
    }
}

/// Ends the process if a run does not end.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, target, input)) = &*under_way
            && since.elapsed() > HANG
        {
            let path = keep(target, "hang", input);
            eprintln!("{} hangs; the input is kept as {}", target.name, path.display());
            std::process::abort();
        }
    }
}

/// Writes an input that fails to where it is found.
fn keep(target: &Target, what: &str, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = artifact(target, &format!("{what}-{:016x}", hasher.finish()));
    if let Err(error) = fs::write(&path, input) {
        eprintln!("{}: {error}; the input is {input:02x?}", path.display());
    }
    path
}

fn artifact(target: &Target, name: &str) -> PathBuf {
    let fallback = || option_env!("CARGO_TARGET_TMPDIR").unwrap_or(".").into();
    let folder = variable("RAFT_FUZZ_ARTIFACTS").unwrap_or_else(fallback);
    let _ = fs::create_dir_all(&folder);
    Path::new(&folder).join(format!("{}-{name}", target.name))
}

/// Takes an input apart, for targets that want more than bytes. Past its end everything is zero.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.word()) % limit.max(1)
    }

    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn long(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A number that is small most of the time, and otherwise near a power of two.
    pub fn number(&mut self) -> u64 {
        let byte = self.byte();
        match byte {
            0..=0xbf => u64::from(byte) % 24,
            0xc0..=0xdf => (1_u64 << (byte & 0x1f) << (self.byte() & 0x1f)).wrapping_add(self.small()),
            0xe0..=0xef => u64::MAX.wrapping_add(self.small()),
            _ => self.long(),
        }
    }

    /// -8 to 7, wrapped.
    fn small(&mut self) -> u64 {
        u64::from(self.byte() & 15).wrapping_sub(8)
    }

    /// As many bytes as there are, up to a length.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
