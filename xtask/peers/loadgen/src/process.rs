//! What the system knows of the servers' processes.

/// Processor time of all of them, user and system, in seconds.
pub fn cpu_seconds(pids: &[i32]) -> f64 {
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let ticks: u64 = pids.iter().map(|pid| ticks(*pid).unwrap_or(0)).sum();
    ticks as f64 / per_second
}

fn ticks(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; it ends at the last parenthesis.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// The most memory that each has had, in MiB.
pub fn peak_mib(pids: &[i32]) -> Vec<u64> {
    let peak = |pid: &i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find(|line| line.starts_with("VmHWM"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    pids.iter().map(|pid| peak(pid).unwrap_or(0) / 1024).collect()
}

/// Seconds that the host has given to others, of all cores.
pub fn stolen_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let stolen = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    stolen.unwrap_or(0) as f64 / rustix::param::clock_ticks_per_second() as f64
}
