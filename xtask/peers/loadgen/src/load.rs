//! Writes or reads in a closed loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::meter::Meter;
use crate::values::Values;
use crate::{Args, Mode, Proto, etcd, gap, many, process, sp};

pub fn run(args: &Args, runtime: &Runtime) -> Result<Value, String> {
    let leader = gap::leader(args, runtime).ok_or("nobody leads")?;
    let address = args.addrs[leader];
    let (values, meter) = (Values::new(args.size), Arc::new(Meter::default()));
    let (mut threads, mut tasks) = (Vec::new(), Vec::new());
    let conns = args.conns.clamp(1, args.clients.max(1));
    match args.proto {
        Proto::Sp => {
            for at in 0..conns {
                let clients = args.clients / conns + usize::from(at < args.clients % conns);
                let (values, meter) = (values.of(at), Arc::clone(&meter));
                threads.push(std::thread::spawn(move || sp::clients(address, clients, values, &meter)));
            }
        }
        Proto::Resp | Proto::Redis => {
            let many = args.threads.clamp(1, args.clients.max(1));
            for at in 0..many {
                let clients = args.clients / many + usize::from(at < args.clients % many);
                let (values, meter, how) = (values.of(at), Arc::clone(&meter), (args.proto, args.mode));
                threads.push(std::thread::spawn(move || many::clients(address, clients, how, values, &meter)));
            }
        }
        Proto::Etcd => {
            let clients: Vec<etcd::Client> = {
                let _inside = runtime.enter();
                (0..conns).map(|_| etcd::connect(address)).collect()
            };
            for at in 0..args.clients {
                let (client, values) = (clients[at % conns].clone(), values.of(at));
                let (meter, mode) = (Arc::clone(&meter), args.mode);
                tasks.push(runtime.spawn(async move {
                    client.run(mode, values, &meter).await;
                }));
            }
        }
    }
    std::thread::sleep(Duration::from_secs_f64(args.warm));
    let own = [i32::try_from(std::process::id()).unwrap_or(0)];
    let before = (process::cpu_seconds(&args.pids), process::cpu_seconds(&own), process::stolen_seconds());
    meter.count(true);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(args.secs));
    meter.count(false);
    let took = begun.elapsed().as_secs_f64();
    let after = (process::cpu_seconds(&args.pids), process::cpu_seconds(&own), process::stolen_seconds());
    meter.stop();
    for thread in threads {
        thread.join().map_err(|_| "a client panicked")?.map_err(|error| error.to_string())?;
    }
    for task in tasks {
        runtime.block_on(task).map_err(|error| error.to_string())?;
    }
    let (done, latencies) = (meter.done(), meter.latencies());
    let cpu = after.0 - before.0;
    Ok(json!({
        "mode": if args.mode == Mode::Read { "read" } else { "write" },
        "clients": args.clients,
        "size": args.size,
        "seconds": took,
        "done": done,
        "failed": meter.failed(),
        "per_s": done as f64 / took,
        "p50_us": latencies.value_at_quantile(0.5),
        "p99_us": latencies.value_at_quantile(0.99),
        "p999_us": latencies.value_at_quantile(0.999),
        "max_us": latencies.max(),
        "cpu_s": cpu,
        "cpu_s_per_million": if done > 0 { cpu / done as f64 * 1e6 } else { 0.0 },
        "client_cpu_s": after.1 - before.1,
        "stolen_s": after.2 - before.2,
        "peak_mib": process::peak_mib(&args.pids),
    }))
}
