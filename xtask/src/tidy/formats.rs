//! A format document carries a hash of the code that reads and writes the format, so that nobody
//! changes one and forgets the other. Comments, tests and white space do not count.

use std::path::Path;

use super::Finding;
use crate::util::rust_text::{self, Blank};
use crate::util::{Context, Failure};

/// A document and the sources that it describes.
pub(super) struct Format {
    pub(super) document: &'static str,
    pub(super) sources: &'static [&'static str],
}

pub(super) const FORMATS: &[Format] = &[
    Format {
        document: "docs/journal-format.md",
        sources: &[
            "raft-log-file/src/record.rs",
            "raft-log-file/src/segment.rs",
            "raft-log-file/src/hard_state.rs",
            "raft-core/src/slots/mod.rs",
            "raft-core/src/slots/body.rs",
            "raft-log-file/src/layout.rs",
        ],
    },
    Format {
        document: "docs/entry-format.md",
        sources: &[
            "raft-core/src/entry.rs",
            "raft-core/src/session/op.rs",
            "raft-core/src/session/packed.rs",
            "raft-core/src/session/codec.rs",
        ],
    },
    Format { document: "docs/snapshot-format.md", sources: &["raft-log-file/src/snapshots/format.rs"] },
    Format {
        document: "docs/kv-snapshot-format.md",
        sources: &[
            "examples/kv/src/snapshot/format.rs",
            "examples/kv/src/snapshot/encode.rs",
            "examples/kv/src/snapshot/decode.rs",
        ],
    },
    Format { document: "docs/backup-format.md", sources: &["examples/kv/src/backup/format.rs"] },
    Format {
        document: "docs/snapshot-sqlite.md",
        sources: &["raft-log-sqlite/src/snapshots/records.rs", "raft-log-sqlite/src/snapshots/db.rs"],
    },
    Format {
        document: "docs/journal-sqlite.md",
        sources: &[
            "raft-core/src/slots/mod.rs",
            "raft-core/src/slots/body.rs",
            "raft-log-sqlite/src/rows.rs",
            "raft-log-sqlite/src/beside.rs",
            "raft-log-sqlite/src/wal.rs",
        ],
    },
    Format {
        document: "docs/wire-format.md",
        sources: &[
            "raft-net-tcp/src/frame.rs",
            "raft-net-tcp/src/handshake.rs",
            "raft-core/src/peering/handshake.rs",
            "raft-core/src/message.rs",
        ],
    },
    Format {
        document: "docs/grpc-wire-format.md",
        sources: &[
            "raft-net-grpc/proto/raft/v1/raft.proto",
            "raft-net-grpc/src/checksum.rs",
            "raft-net-grpc/src/convert.rs",
            "raft-net-grpc/src/handshake.rs",
            "raft-core/src/peering/handshake.rs",
            "raft-core/src/message.rs",
        ],
    },
];

/// What begins the line with the hash.
const MARK: &str = "format-source-hash: ";

/// Documents whose hash is not that of their sources.
pub(super) fn stale(root: &Path) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for format in FORMATS {
        let mut finding = |what: String| {
            findings.push(Finding { file: format.document.into(), line: 0, what });
        };
        if let Some(absent) = format.sources.iter().find(|source| !root.join(source).exists()) {
            finding(format!("its source {absent} is gone; tell xtask/src/tidy/formats.rs where it went"));
            continue;
        }
        let hash = hash(root, format)?;
        match std::fs::read_to_string(root.join(format.document)) {
            Err(error) => {
                finding(format!("{error}: describe the format there, or tell xtask/src/tidy/formats.rs"))
            }
            Ok(text) => match line_of(&text) {
                None => finding(format!("needs a line `{MARK}{hash}`; `cargo xtask tidy --bless` writes it")),
                Some(found) if found == hash => {}
                Some(_) => finding(String::from(
                    "the source of this format has changed: check that the document still says what the \
                     code does, then run `cargo xtask tidy --bless`",
                )),
            },
        }
    }
    Ok(findings)
}

/// Writes the present hashes and returns the documents that changed.
pub(super) fn bless(root: &Path) -> Result<Vec<&'static str>, Failure> {
    let mut changed = Vec::new();
    for format in FORMATS {
        let path = root.join(format.document);
        if !path.exists() {
            continue; // `stale` says what is missing.
        }
        let text = std::fs::read_to_string(&path).context(|| format!("cannot read {}", format.document))?;
        let hash = hash(root, format)?;
        let blessed = match line_of(&text) {
            Some(old) => text.replace(&format!("{MARK}{old}"), &format!("{MARK}{hash}")),
            None => format!("{}\n\n{MARK}{hash}\n", text.trim_end()),
        };
        if blessed != text {
            std::fs::write(&path, blessed).context(|| format!("cannot write {}", format.document))?;
            changed.push(format.document);
        }
    }
    Ok(changed)
}

/// The hash that a document carries.
fn line_of(text: &str) -> Option<&str> {
    let at = text.find(MARK)? + MARK.len();
    let rest = &text[at..];
    Some(&rest[..rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len())])
}

fn hash(root: &Path, format: &Format) -> Result<String, Failure> {
    let mut hash = FNV_OFFSET;
    for source in format.sources {
        let text = std::fs::read_to_string(root.join(source)).context(|| format!("cannot read {source}"))?;
        hash = fnv(hash, &essence(&text));
    }
    Ok(format!("{hash:016x}"))
}

/// The code alone: a reworded comment changes no format.
fn essence(text: &str) -> String {
    let code = rust_text::blank(rust_text::without_tests(text), Blank::Comments);
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on every platform and in every version of Rust.
fn fnv(start: u64, text: &str) -> u64 {
    text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_layout_do_not_count_but_code_does() {
        let hash = |text: &str| fnv(FNV_OFFSET, &essence(text));
        let code = "const A: &str = \"x\";\n";
        assert_eq!(hash(code), hash("// why\nconst A: &str  =\n    \"x\";\n#[cfg(test)]\nmod tests { }"));
        assert_ne!(hash(code), hash("const A: &str = \"y\";\n"));
        assert_eq!(fnv(FNV_OFFSET, "a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn the_hash_is_found_in_a_document() {
        assert_eq!(line_of("x\n`format-source-hash: 00ff`\n"), Some("00ff"));
        assert_eq!(line_of("x"), None);
    }
}
