//! The linearizability checker from the command line: what clients of a key-value store saw, as a file.
//! `cargo xtask chaos` records such files and starts it.
//!
//! A line is one operation, as JSON:
//!
//! ```text
//! {"client":3,"key":"r1","command":"put","value":"3.17","invoked":120,"completed":450,"output":true}
//! ```
//!
//! | command | beside it | output |
//! | --- | --- | --- |
//! | `get` | | what the key holds, or null |
//! | `put` | `value` | `true` |
//! | `cas` | `expected` (null: nothing), `value` | whether it wrote |
//! | `append` | `value` | the length after it |
//! | `incr` | `by` | the number after it |
//! | `del` | | whether there was something |
//!
//! `invoked` and `completed` are times by one clock. Without `completed` nobody knows what became of the
//! operation. Operations that certainly had no effect have no line.

use std::io::BufRead;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use raft_testkit::linearizability::{
    History, Kv, KvCommand, KvInput, KvOutput, Limits, Operation, Outcome, Verdict, check,
};
use serde_json::Value;

/// Many small things are made and kept.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Is what clients saw explained by one copy of the data? Exit code 0: it is; 1: it is not; 3: a limit was
/// reached before that was known; 2: the command line or the file is wrong.
#[derive(Parser)]
#[command(name = "raft-history")]
struct Args {
    /// The operations, one a line.
    #[arg(value_name = "FILE")]
    file: std::path::PathBuf,
    /// Gives up on a key after so many steps.
    #[arg(long, value_name = "N", default_value_t = 200_000_000)]
    steps: u64,
    /// Gives up on everything after so many seconds.
    #[arg(long, value_name = "N", default_value_t = 300)]
    seconds: u64,
}

/// Where a bound of the search was met.
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    let history = match read(&args.file) {
        Ok(history) => history,
        Err(why) => {
            eprintln!("raft-history: {}: {why}", args.file.display());
            return ExitCode::from(2);
        }
    };
    let operations = history.operations().len();
    let unknown = history.operations().iter().filter(|of| matches!(of.outcome, Outcome::Unknown)).count();
    let keys: std::collections::BTreeSet<&str> =
        history.operations().iter().map(|of| of.input.key.as_str()).collect();
    let keys = keys.len();
    let start = Instant::now();
    let limits = Limits::steps(args.steps).within(Duration::from_secs(args.seconds));
    let (word, code) = match check(&Kv::new(), &history, limits) {
        Verdict::Ok => ("yes", ExitCode::SUCCESS),
        Verdict::Illegal(why) => {
            print!("{why}");
            ("no", ExitCode::FAILURE)
        }
        Verdict::Unknown { key, steps } => {
            println!("not proven: key {key:?} has no verdict after {steps} steps");
            ("unknown", ExitCode::from(UNKNOWN))
        }
    };
    println!(
        "history: operations={operations} keys={keys} unknown={unknown} linearizable={word} seconds={:.1}",
        start.elapsed().as_secs_f64()
    );
    code
}

fn read(file: &std::path::Path) -> Result<History<KvInput, KvOutput>, String> {
    let file = std::fs::File::open(file).map_err(|error| error.to_string())?;
    let mut history = History::new();
    for (at, line) in std::io::BufReader::new(file).lines().enumerate() {
        let wrong = |why: String| format!("line {}: {why}", at + 1);
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let operation = parse(&line).map_err(wrong)?;
        history.push(operation).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(history)
}

/// One line as an operation; what is wrong with it otherwise.
fn parse(line: &str) -> Result<Operation<KvInput, KvOutput>, String> {
    let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let number = |name: &str| line[name].as_u64().ok_or_else(|| format!("{name:?} is not a number"));
    let text = |name: &str| line[name].as_str().ok_or_else(|| format!("{name:?} is not a string"));
    let value = || text("value").map(|value| value.to_owned().into());
    let command = match text("command")? {
        "get" => KvCommand::Get,
        "put" => KvCommand::Put(value()?),
        "cas" => KvCommand::Cas { expected: register(line.get("expected"), "expected")?, new: value()? },
        "append" => KvCommand::Append(value()?),
        "incr" => KvCommand::Incr(line["by"].as_i64().ok_or("\"by\" is not a number")?),
        "del" => KvCommand::Del,
        other => return Err(format!("there is no command {other:?}")),
    };
    let outcome = match line.get("completed") {
        None => Outcome::Unknown,
        Some(_) => {
            Outcome::Completed { at: number("completed")?, output: output(&command, line.get("output"))? }
        }
    };
    let input = KvInput::new(text("key")?, command);
    Ok(Operation { client: number("client")?, invoked: number("invoked")?, input, outcome })
}

/// Text, or nothing; the member itself must be there.
fn register(value: Option<&Value>, name: &str) -> Result<Option<bytes::Bytes>, String> {
    match value {
        Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone().into())),
        _ => Err(format!("{name:?} is neither a string nor null")),
    }
}

fn output(command: &KvCommand, output: Option<&Value>) -> Result<KvOutput, String> {
    let told = match (command, output) {
        (KvCommand::Get, output) => Some(KvOutput::Value(register(output, "output")?)),
        (KvCommand::Put(_), Some(Value::Bool(true))) => Some(KvOutput::Done),
        (KvCommand::Cas { .. }, Some(Value::Bool(wrote))) => Some(KvOutput::Swapped(*wrote)),
        (KvCommand::Del, Some(Value::Bool(existed))) => Some(KvOutput::Existed(*existed)),
        (KvCommand::Append(_), Some(length)) => length.as_u64().map(KvOutput::Length),
        (KvCommand::Incr(_), Some(number)) => number.as_i64().map(KvOutput::Number),
        _ => None,
    };
    told.ok_or_else(|| "\"output\" is none that the command has".into())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_no_operation_is_named() {
        let line = |rest: &str| format!(r#"{{"client":1,"key":"k","invoked":5,{rest}}}"#);
        let good = [
            r#""command":"get","completed":6,"output":null"#,
            r#""command":"get""#,
            r#""command":"cas","expected":null,"value":"a","completed":6,"output":false"#,
            r#""command":"append","value":"a","completed":6,"output":3"#,
            r#""command":"incr","by":-1,"completed":6,"output":-1"#,
            r#""command":"del","completed":6,"output":true"#,
        ];
        for rest in good {
            parse(&line(rest)).unwrap();
        }
        let bad = [
            (r#""command":"get","completed":6"#, "\"output\" is neither a string nor null"),
            (r#""command":"put","completed":6,"output":true"#, "\"value\" is not a string"),
            (r#""command":"put","value":"a","completed":6,"output":1"#, "\"output\" is none"),
            (r#""command":"cas","value":"a""#, "\"expected\" is neither a string nor null"),
            (r#""command":"swap""#, "there is no command \"swap\""),
            (r#""command":"get","completed":"6","output":null"#, "\"completed\" is not a number"),
        ];
        for (rest, why) in bad {
            let said = parse(&line(rest)).unwrap_err();
            assert!(said.contains(why), "{rest}: {said}");
        }
        assert!(parse("{").is_err());
    }
}
