//! Physical limits of the machine: durable writes, loopback TCP, memcpy/CRC.
//!   physical fsync <dir> <mode> <bytes> <threads> <secs>
//!     mode: append | falloc | overwrite | dsync | direct
//!   physical ping-std <secs>            blocking std sockets, 64 B ping-pong
//!   physical ping-tokio <secs>          tokio, 64 B ping-pong
//!   physical ping-procs <secs>          (same as ping-std; two threads)
//!   physical pipe-tokio <window> <bytes> <secs>   windowed request/response, batched by the reader
//!   physical pipe-std <window> <bytes> <secs>
//!   physical mem                        memcpy, crc32fast, crc32c
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{Duration, Instant};

fn pct(v: &mut Vec<u64>, p: f64) -> f64 {
    v.sort_unstable();
    if v.is_empty() { return 0.0; }
    v[((v.len() - 1) as f64 * p) as usize] as f64 / 1000.0
}

fn fsync_bench(dir: &str, mode: &str, size: usize, threads: usize, secs: f64) {
    const SPAN: u64 = 64 << 20;
    let hs: Vec<_> = (0..threads)
        .map(|t| {
            let path = format!("{dir}/fsyncbench.{mode}.{t}");
            let mode = mode.to_string();
            std::thread::spawn(move || {
                let _ = std::fs::remove_file(&path);
                let mut oo = OpenOptions::new();
                oo.create(true).read(true).write(true);
                if mode != "append" {
                    // lay the file out first
                    let f = OpenOptions::new().create(true).write(true).open(&path).unwrap();
                    if mode == "falloc" {
                        let r = unsafe { libc::fallocate(f.as_raw_fd(), 0, 0, SPAN as i64) };
                        assert_eq!(r, 0);
                    } else {
                        let z = vec![0u8; 1 << 20];
                        for i in 0..(SPAN >> 20) {
                            f.write_all_at(&z, i << 20).unwrap();
                        }
                    }
                    f.sync_all().unwrap();
                }
                match mode.as_str() {
                    "dsync" => { oo.custom_flags(libc::O_DSYNC); }
                    "direct" => { oo.custom_flags(libc::O_DSYNC | libc::O_DIRECT); }
                    _ => {}
                }
                let f = oo.open(&path).unwrap();
                let mut raw = vec![0u8; size + 8192];
                let off0 = (4096 - (raw.as_ptr() as usize & 4095)) & 4095;
                for (i, b) in raw.iter_mut().enumerate() { *b = (i * 31 + 7) as u8; }
                let sz = if mode == "direct" { (size + 4095) & !4095 } else { size };
                let buf = &raw[off0..off0 + sz];
                let (mut off, mut lat) = (0u64, Vec::new());
                let t0 = Instant::now();
                while t0.elapsed().as_secs_f64() < secs {
                    let a = Instant::now();
                    if mode != "append" && off + sz as u64 > SPAN { off = 0; }
                    f.write_all_at(buf, off).unwrap();
                    off += sz as u64;
                    if mode != "dsync" && mode != "direct" {
                        assert_eq!(unsafe { libc::fdatasync(f.as_raw_fd()) }, 0);
                    }
                    lat.push(a.elapsed().as_nanos() as u64);
                }
                let el = t0.elapsed().as_secs_f64();
                let _ = std::fs::remove_file(&path);
                (lat, el)
            })
        })
        .collect();
    let mut all = Vec::new();
    let mut rate = 0.0;
    for h in hs { let (l, el) = h.join().unwrap(); rate += l.len() as f64 / el; all.extend(l); }
    println!("{{\"per_s\":{rate:.0},\"p50_us\":{:.1},\"p99_us\":{:.1},\"max_us\":{:.0}}}",
        pct(&mut all, 0.5), pct(&mut all, 0.99), pct(&mut all, 1.0));
}

fn ping_std(secs: f64) {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = l.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut s, _) = l.accept().unwrap();
        s.set_nodelay(true).unwrap();
        let mut b = [0u8; 64];
        while s.read_exact(&mut b).is_ok() { if s.write_all(&b).is_err() { break; } }
    });
    let mut s = TcpStream::connect(addr).unwrap();
    s.set_nodelay(true).unwrap();
    let mut b = [1u8; 64];
    let mut lat = Vec::new();
    let t0 = Instant::now();
    while t0.elapsed().as_secs_f64() < secs {
        let a = Instant::now();
        s.write_all(&b).unwrap();
        s.read_exact(&mut b).unwrap();
        lat.push(a.elapsed().as_nanos() as u64);
    }
    let r = lat.len() as f64 / t0.elapsed().as_secs_f64();
    println!("{{\"per_s\":{r:.0},\"p50_us\":{:.1},\"p99_us\":{:.1}}}", pct(&mut lat, 0.5), pct(&mut lat, 0.99));
}

fn ping_tokio(secs: f64) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // two single-threaded runtimes in two threads, as two processes would be
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = l.local_addr().unwrap();
    l.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let l = tokio::net::TcpListener::from_std(l).unwrap();
            let (mut s, _) = l.accept().await.unwrap();
            s.set_nodelay(true).unwrap();
            let mut b = [0u8; 64];
            while s.read_exact(&mut b).await.is_ok() { if s.write_all(&b).await.is_err() { break; } }
        })
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
        let mut s = tokio::net::TcpStream::connect(addr).await.unwrap();
        s.set_nodelay(true).unwrap();
        let mut b = [1u8; 64];
        let mut lat = Vec::new();
        let t0 = Instant::now();
        while t0.elapsed().as_secs_f64() < secs {
            let a = Instant::now();
            s.write_all(&b).await.unwrap();
            s.read_exact(&mut b).await.unwrap();
            lat.push(a.elapsed().as_nanos() as u64);
        }
        let r = lat.len() as f64 / t0.elapsed().as_secs_f64();
        println!("ping-tokio\t{r:.0}\trt/s\tp50us\t{:.1}\tp99us\t{:.1}", pct(&mut lat, 0.5), pct(&mut lat, 0.99));
    });
}

fn pipe_std(window: usize, size: usize, secs: f64) {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = l.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut s, _) = l.accept().unwrap();
        s.set_nodelay(true).unwrap();
        let mut b = vec![0u8; 256 << 10];
        let mut have = 0;
        let ack = vec![7u8; 16 * 4096];
        loop {
            let n = match s.read(&mut b[have..]) { Ok(0) | Err(_) => return, Ok(n) => n };
            have += n;
            let k = have / size;
            have -= k * size;
            if k > 0 && s.write_all(&ack[..16 * k]).is_err() { return; }
        }
    });
    let mut s = TcpStream::connect(addr).unwrap();
    s.set_nodelay(true).unwrap();
    let out = vec![1u8; size * window];
    let mut b = vec![0u8; 64 << 10];
    let (mut have, mut done) = (0usize, 0u64);
    s.write_all(&out).unwrap();
    let t0 = Instant::now();
    while t0.elapsed().as_secs_f64() < secs {
        let n = s.read(&mut b[have..]).unwrap();
        have += n;
        let k = have / 16;
        have -= k * 16;
        done += k as u64;
        if k > 0 { s.write_all(&out[..k * size]).unwrap(); }
    }
    println!("pipe-std\twindow\t{window}\tbytes\t{size}\t{:.0}\tmsgs/s", done as f64 / t0.elapsed().as_secs_f64());
}

fn pipe_tokio(window: usize, size: usize, secs: f64) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = l.local_addr().unwrap();
    l.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
            let l = tokio::net::TcpListener::from_std(l).unwrap();
            let (mut s, _) = l.accept().await.unwrap();
            s.set_nodelay(true).unwrap();
            let mut b = vec![0u8; 256 << 10];
            let mut have = 0;
            let ack = vec![7u8; 16 * 4096];
            loop {
                let n = match s.read(&mut b[have..]).await { Ok(0) | Err(_) => return, Ok(n) => n };
                have += n;
                let k = have / size;
                have -= k * size;
                if k > 0 && s.write_all(&ack[..16 * k]).await.is_err() { return; }
            }
        })
    });
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async move {
        let mut s = tokio::net::TcpStream::connect(addr).await.unwrap();
        s.set_nodelay(true).unwrap();
        let out = vec![1u8; size * window];
        let mut b = vec![0u8; 64 << 10];
        let (mut have, mut done) = (0usize, 0u64);
        s.write_all(&out).await.unwrap();
        let t0 = Instant::now();
        while t0.elapsed().as_secs_f64() < secs {
            let n = s.read(&mut b[have..]).await.unwrap();
            have += n;
            let k = have / 16;
            have -= k * 16;
            done += k as u64;
            if k > 0 { s.write_all(&out[..k * size]).await.unwrap(); }
        }
        println!("pipe-tokio\twindow\t{window}\tbytes\t{size}\t{:.0}\tmsgs/s", done as f64 / t0.elapsed().as_secs_f64());
    });
}

fn mem() {
    let n = 64 << 20;
    let a = vec![3u8; n];
    let mut b = vec![0u8; n];
    let gbs = |bytes: usize, d: Duration| bytes as f64 / d.as_secs_f64() / 1e9;
    for _ in 0..2 { b.copy_from_slice(&a); }
    let t = Instant::now();
    for _ in 0..8 { b.copy_from_slice(std::hint::black_box(&a)); std::hint::black_box(&mut b); }
    println!("memcpy 64 MiB\t{:.1}\tGB/s", gbs(8 * n, t.elapsed()));
    for sz in [256usize, 4096, 1 << 20] {
        let it = (512 << 20) / sz;
        let t = Instant::now();
        let mut x = 0u32;
        for _ in 0..it { x ^= crc32fast::hash(std::hint::black_box(&a[..sz])); }
        let g1 = gbs(it * sz, t.elapsed());
        let t = Instant::now();
        for _ in 0..it { x ^= crc32c::crc32c(std::hint::black_box(&a[..sz])); }
        let g2 = gbs(it * sz, t.elapsed());
        println!("crc {sz} B\tcrc32fast\t{g1:.1}\tcrc32c\t{g2:.1}\tGB/s\t({x})");
    }
}

fn main() {
    let a: Vec<String> = std::env::args().collect();
    let f = |i: usize| a[i].parse::<f64>().unwrap();
    match a[1].as_str() {
        "fsync" => fsync_bench(&a[2], &a[3], f(4) as usize, f(5) as usize, f(6)),
        "ping-std" => ping_std(f(2)),
        "ping-tokio" => ping_tokio(f(2)),
        "pipe-std" => pipe_std(f(2) as usize, f(3) as usize, f(4)),
        "pipe-tokio" => pipe_tokio(f(2) as usize, f(3) as usize, f(4)),
        "mem" => mem(),
        _ => panic!("unknown"),
    }
}
