//! `RAFT CONFIG GET|SET`: settings of the node that may change while it runs.

use std::time::Duration;

use bytes::Bytes;
use raft_core::{Config, Lease, Settings};

use super::local::{unknown_subcommand, upper};
use crate::resp::Reply;
use crate::server::Server;
use crate::settings::DRIFT_PPM;
use crate::store::glob;

/// A setting: its name, how it is shown, and how it is set.
struct Setting {
    name: &'static str,
    show: fn(&Config) -> String,
    set: fn(&Config, &str, &mut Settings) -> Result<(), String>,
}

/// A kind of number, with what it can be.
trait Number: std::str::FromStr {
    const RANGE: &str;
}

impl Number for i8 {
    const RANGE: &str = "between -128 and 127";
}

impl Number for u32 {
    const RANGE: &str = "from 0 on, below 2^32";
}

impl Number for u64 {
    const RANGE: &str = "from 0 on";
}

impl Number for usize {
    const RANGE: &str = "from 0 on";
}

fn number<T: Number>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("'{text}' is no whole number {}", T::RANGE))
}

fn span(text: &str) -> Result<Duration, String> {
    number(text).map(Duration::from_millis)
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "heartbeat-ms",
        show: |config| config.heartbeat_interval.as_millis().to_string(),
        set: |_, text, settings| span(text).map(|span| settings.heartbeat_interval = Some(span)),
    },
    Setting {
        name: "election-timeout-ms",
        show: |config| config.election_timeout.as_millis().to_string(),
        set: |_, text, settings| span(text).map(|span| settings.election_timeout = Some(span)),
    },
    Setting {
        name: "disk-timeout-ms",
        show: |config| config.disk_timeout.unwrap_or(config.election_timeout).as_millis().to_string(),
        set: |_, text, settings| span(text).map(|span| settings.disk_timeout = Some(Some(span))),
    },
    Setting {
        name: "priority",
        show: |config| config.priority.to_string(),
        set: |_, text, settings| number(text).map(|priority| settings.priority = Some(priority)),
    },
    Setting {
        name: "lease-reads",
        show: |config| String::from(if config.lease.is_some() { "yes" } else { "no" }),
        set: |config, text, settings| {
            settings.lease = Some(match text {
                "yes" => Some(config.lease.unwrap_or(Lease { max_drift_ppm: DRIFT_PPM })),
                "no" => None,
                _ => return Err(format!("'{text}' is neither yes nor no")),
            });
            Ok(())
        },
    },
    Setting {
        name: "clock-drift-ppm",
        show: |config| config.lease.map_or(DRIFT_PPM, |lease| lease.max_drift_ppm).to_string(),
        set: |config, text, settings| {
            if config.lease.is_none() {
                return Err("it is of no use without lease-reads: set that to yes first".into());
            }
            number(text).map(|max_drift_ppm| settings.lease = Some(Some(Lease { max_drift_ppm })))
        },
    },
    Setting {
        name: "append-limit-bytes",
        show: |config| config.append_limit_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.append_limit_bytes = Some(bytes)),
    },
    Setting {
        name: "window-messages",
        show: |config| config.window_messages.to_string(),
        set: |_, text, settings| number(text).map(|messages| settings.window_messages = Some(messages)),
    },
    Setting {
        name: "window-bytes",
        show: |config| config.window_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.window_bytes = Some(bytes)),
    },
    Setting {
        name: "uncommitted-limit-bytes",
        show: |config| config.uncommitted_limit_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.uncommitted_limit_bytes = Some(bytes)),
    },
    Setting {
        name: "tail-limit-bytes",
        show: |config| config.tail_limit_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.tail_limit_bytes = Some(bytes)),
    },
    Setting {
        name: "tail-keep-bytes",
        show: |config| config.tail_keep_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.tail_keep_bytes = Some(bytes)),
    },
    Setting {
        name: "write-limit-bytes",
        show: |config| config.write_limit_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.write_limit_bytes = Some(bytes)),
    },
    Setting {
        name: "apply-limit-bytes",
        show: |config| config.apply_limit_bytes.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.apply_limit_bytes = Some(bytes)),
    },
    Setting {
        name: "gather-limit-us",
        show: |config| config.gather_limit.as_micros().to_string(),
        set: |_, text, settings| {
            number(text).map(|micros| settings.gather_limit = Some(Duration::from_micros(micros)))
        },
    },
    Setting {
        name: "spare-delay-us",
        show: |config| config.spare_delay.as_micros().to_string(),
        set: |_, text, settings| {
            number(text).map(|micros| settings.spare_delay = Some(Duration::from_micros(micros)))
        },
    },
    Setting {
        name: "promote-lag-entries",
        show: |config| config.promote_lag_entries.to_string(),
        set: |_, text, settings| number(text).map(|entries| settings.promote_lag_entries = Some(entries)),
    },
    Setting {
        name: "snapshot-every-entries",
        show: |config| config.snapshot_every_entries.to_string(),
        set: |_, text, settings| number(text).map(|amount| settings.snapshot_every_entries = Some(amount)),
    },
    Setting {
        name: "snapshot-every-bytes",
        show: |config| config.snapshot_every_bytes.to_string(),
        set: |_, text, settings| number(text).map(|amount| settings.snapshot_every_bytes = Some(amount)),
    },
    Setting {
        name: "snapshot-growth",
        show: |config| config.snapshot_growth.to_string(),
        set: |_, text, settings| number(text).map(|times| settings.snapshot_growth = Some(times)),
    },
    Setting {
        name: "snapshot-keep-entries",
        show: |config| config.snapshot_keep_entries.to_string(),
        set: |_, text, settings| number(text).map(|amount| settings.snapshot_keep_entries = Some(amount)),
    },
    Setting {
        name: "snapshot-keep-bytes",
        show: |config| config.snapshot_keep_bytes.to_string(),
        set: |_, text, settings| number(text).map(|amount| settings.snapshot_keep_bytes = Some(amount)),
    },
    Setting {
        name: "scrub-every-ms",
        show: |config| config.scrub_period.as_millis().to_string(),
        set: |_, text, settings| span(text).map(|span| settings.scrub_period = Some(span)),
    },
    Setting {
        name: "scrub-bytes-per-second",
        show: |config| config.scrub_bytes_per_second.to_string(),
        set: |_, text, settings| number(text).map(|bytes| settings.scrub_bytes_per_second = Some(bytes)),
    },
];

/// Answers `RAFT CONFIG ...`.
pub(super) async fn command(server: &Server, args: &[Bytes], reply: &mut Reply) {
    // Changes nothing, and says how everything is.
    let config = match server.node.reconfigure(Settings::default()).await {
        Ok(config) => config,
        Err(error) => return reply.error(&format!("CLUSTERDOWN {error}; ask another node")),
    };
    match (upper(args.first()).as_slice(), args.get(1..).unwrap_or_default()) {
        (b"GET", names) => {
            let asked = |setting: &&Setting| {
                let is = |name: &Bytes| glob::matches(&name.to_ascii_lowercase(), setting.name.as_bytes());
                names.is_empty() || names.iter().any(is)
            };
            let found: Vec<&Setting> = SETTINGS.iter().filter(asked).collect();
            reply.map(found.len());
            for setting in found {
                reply.bulk(setting.name.as_bytes());
                reply.bulk((setting.show)(&config).as_bytes());
            }
        }
        (b"SET", [name, value]) => {
            let setting = SETTINGS.iter().find(|setting| name.eq_ignore_ascii_case(setting.name.as_bytes()));
            let Some(setting) = setting else {
                let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
                return reply.error(&format!(
                    "ERR no setting that may change while the node runs; there are {}",
                    known.join(", ")
                ));
            };
            let name = setting.name;
            let mut settings = Settings::default();
            let text = String::from_utf8_lossy(value.get(..64).unwrap_or(value));
            if let Err(why) = (setting.set)(&config, &text, &mut settings) {
                return reply.error(&format!("ERR {name}: {why}"));
            }
            match server.node.reconfigure(settings).await {
                Ok(config) => {
                    server.set_election_timeout(config.election_timeout);
                    reply.ok();
                }
                Err(error) => reply.error(&format!("ERR {name} is as it was: {error}")),
            }
        }
        _ => unknown_subcommand("RAFT CONFIG", args.first(), reply),
    }
}
