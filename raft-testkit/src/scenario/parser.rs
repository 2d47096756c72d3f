//! A scenario file as blocks: commands, then the trace that is expected.

use super::words::Words;

/// One command with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) words: Words,
}

/// Commands, and what they must lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The lines as they stand in the file, comments and all.
    pub(super) text: Vec<String>,
    pub(super) commands: Vec<Command>,
    /// `None` if the file has no `----` after the commands.
    pub(super) expected: Option<Vec<String>>,
    /// The line of `----`, or the last line.
    pub(super) line: usize,
}

/// A mistake in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) what: String,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Vec<Block>, Mistake> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    loop {
        let mut block = Block { text: Vec::new(), commands: Vec::new(), expected: None, line: 0 };
        for (at, line) in lines.by_ref() {
            block.line = at + 1;
            if line.trim_end() == "----" {
                block.expected = Some(Vec::new());
                break;
            }
            let words = Words::split(line).map_err(|what| Mistake { line: at + 1, what })?;
            if !words.is_empty() {
                block.commands.push(Command { line: at + 1, words });
            }
            block.text.push(line.to_owned());
        }
        if let Some(expected) = &mut block.expected {
            if block.commands.is_empty() {
                return Err(Mistake { line: block.line, what: "a trace without commands".into() });
            }
            let trace = lines.by_ref().map(|(_, line)| line.trim_end().to_owned());
            expected.extend(trace.take_while(|line| !line.is_empty()));
            blocks.push(block);
            continue;
        }
        // Comments at the end belong to nobody, and stay.
        if !block.commands.is_empty() || block.text.iter().any(|line| !line.trim().is_empty()) {
            blocks.push(block);
        }
        return Ok(blocks);
    }
}

/// The file again, with these traces.
pub(super) fn render(blocks: &[Block], traces: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (at, block) in blocks.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        for line in &block.text {
            out.push_str(line);
            out.push('\n');
        }
        if block.commands.is_empty() {
            continue;
        }
        out.push_str("----\n");
        for line in traces.get(at).into_iter().flatten() {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_as_they_were() {
        let text = "# story\n\ncluster 1\n----\nx\ny\n\n# more\nlead 1\n----\nz\n";
        let blocks = parse(text).unwrap();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].expected, Some(vec!["x".into(), "y".into()]));
        assert_eq!(blocks[1].commands[0].line, 9);
        let traces: Vec<_> = blocks.iter().filter_map(|block| block.expected.clone()).collect();
        assert_eq!(render(&blocks, &traces), text);
    }

    #[test]
    fn mistakes_name_their_line() {
        assert_eq!(parse("cluster 1\npropose 1 \"a").unwrap_err().line, 2);
        assert_eq!(parse("# only\n----\nx\n").unwrap_err().line, 2);
    }

    #[test]
    fn commands_without_a_trace_are_seen() {
        assert_eq!(parse("cluster 1\n").unwrap()[0].expected, None);
    }
}
