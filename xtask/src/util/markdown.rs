//! As much of Markdown as our documents use: fenced blocks, code spans, headings, links.

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The line of its first line of code, from 1.
    pub(crate) line: usize,
    /// What stands behind the fence: `sh run`.
    pub(crate) info: String,
    /// What is in it, without the indentation of the fence.
    pub(crate) code: String,
    /// Whether nothing but empty lines stands between it and the block before it.
    pub(crate) follows: bool,
}

/// All fenced blocks, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    let mut follows = false;
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some((indent, mut block)) = open.take() {
            if trimmed.starts_with("```") {
                found.push(block);
                follows = true;
            } else {
                let skip = indent.min(line.len() - trimmed.len());
                block.code.push_str(&line[skip..]);
                block.code.push('\n');
                open = Some((indent, block));
            }
        } else if let Some(info) = trimmed.strip_prefix("```") {
            let block = Block { line: at + 2, info: info.trim().into(), code: String::new(), follows };
            open = Some((line.len() - trimmed.len(), block));
        } else if !trimmed.is_empty() {
            follows = false;
        }
    }
    found
}

/// The lines outside of fenced blocks, with their numbers.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then_some((at + 1, line))
    })
}

/// What stands in backticks, with the numbers of the lines.
pub(crate) fn spans(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(move |span| (line, span)))
}

/// The targets of links, with the numbers of the lines.
pub(crate) fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(line, text)| {
        let target = move |(at, _)| (line, text[at + 2..].split(')').next().unwrap_or_default());
        text.match_indices("](").map(target)
    })
}

/// The anchors of all headings, as GitHub and mdBook make them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let heading = |(_, line): (usize, &str)| {
        let rest = line.trim_start_matches('#');
        (rest.len() < line.len() && rest.starts_with(' ')).then(|| slug(rest.trim()))
    };
    let mut found: Vec<String> = Vec::new();
    for slug in prose(text).filter_map(heading) {
        // The second of the same name has a number.
        let before = found.iter().filter(|other| **other == slug).count();
        found.push(if before == 0 { slug } else { format!("{slug}-{before}") });
    }
    found
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_what_stands_between() {
        let text = "a\n```sh run\nb\n```\n\n```text\nc\n```\nd\n  ```\n  e\n    f\n  ```\n";
        let block = |line, info: &str, code: &str, follows| Block {
            line,
            info: info.into(),
            code: code.into(),
            follows,
        };
        let expected = [
            block(3, "sh run", "b\n", false),
            block(7, "text", "c\n", true),
            block(11, "", "e\n  f\n", false),
        ];
        assert_eq!(blocks(text), expected);
    }

    #[test]
    fn headings_spans_and_links() {
        let text = "# A `b`, c!\n## A b c\n`x` y `z`\n```\n# no\n[a](b)\n```\n[c](d#e) [f](g)";
        assert_eq!(anchors(text), ["a-b-c", "a-b-c-1"]);
        assert_eq!(spans(text).collect::<Vec<_>>(), [(1, "b"), (3, "x"), (3, "z")]);
        assert_eq!(links(text).collect::<Vec<_>>(), [(8, "d#e"), (8, "g")]);
    }
}
