//! Matrix products of the shapes that training meets: best-of-many times and GFLOP/s, on one thread
//! and on all. Arguments filter rows by name.

use std::time::{Duration, Instant};

use hornbeam_kernels::gemm::{Epilogue, gemm};
use hornbeam_kernels::par;

/// The best time of a call within a quarter of a second, at least three calls.
fn best(mut f: impl FnMut()) -> Duration {
    f();
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut count = 0;
    while count < 3 || start.elapsed() < Duration::from_millis(250) {
        let mut calls = 1;
        loop {
            let t = Instant::now();
            for _ in 0..calls {
                f();
            }
            let d = t.elapsed();
            // Many calls a reading where one is near the clock's resolution.
            if d > Duration::from_micros(20) || calls > 1000 {
                best = best.min(d / calls);
                break;
            }
            calls *= 4;
        }
        count += 1;
    }
    best
}

fn main() {
    // name, m, n, k, A transposed, B transposed
    let shapes: &[(&str, usize, usize, usize, bool, bool)] = &[
        ("square 512", 512, 512, 512, false, false),
        ("square 1024", 1024, 1024, 1024, false, false),
        ("mlp forward 1", 128, 512, 784, false, false),
        ("mlp forward 2", 128, 512, 512, false, false),
        ("mlp forward 3", 128, 10, 512, false, false),
        ("mlp grad filter 1", 784, 512, 128, true, false),
        ("mlp grad filter 2", 512, 512, 128, true, false),
        ("mlp grad filter 3", 512, 10, 128, true, false),
        ("mlp grad input 2", 128, 512, 512, false, true),
        ("mlp grad input 3", 128, 512, 10, false, true),
        ("cnn dense forward", 128, 128, 9216, false, false),
        ("cnn dense grad filter", 9216, 128, 128, true, false),
        ("cnn dense grad input", 128, 9216, 128, false, true),
        ("small 32 32 32", 32, 32, 32, false, false),
        ("small 32 32 32 tn", 32, 32, 32, true, false),
        ("small 32 32 32 nt", 32, 32, 32, false, true),
        ("small 32 1 32", 32, 1, 32, false, false),
        ("small 32 1 32 tn", 32, 1, 32, true, false),
        ("small 32 32 1", 32, 32, 1, false, false),
        ("lstm 32 512 128", 32, 512, 128, false, false),
        ("wide 73728 64 288", 73728, 64, 288, false, false),
        ("row 1 1024 1024", 1, 1024, 1024, false, false),
        ("column 1024 1 1024", 1024, 1, 1024, false, false),
        ("long 144 16 65536 tn", 144, 16, 65536, true, false),
    ];
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let all = par::num_threads();
    println!(
        "{:24} {:>10} {:>8}   {:>10} {:>8}",
        "f32",
        "1 thread",
        "GFLOP/s",
        format!("{all} threads"),
        "GFLOP/s"
    );
    for &(name, m, n, k, ta, tb) in shapes {
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let a: Vec<f32> = (0..m * k).map(|i| (i % 13) as f32 * 0.1 - 0.6).collect();
        let b: Vec<f32> = (0..n * k).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
        let mut c = vec![0.0; m * n];
        let (rsa, csa) = if ta { (1, m) } else { (k, 1) };
        let (rsb, csb) = if tb { (1, k) } else { (n, 1) };
        print!("{name:24}");
        for threads in [1, all] {
            par::set_num_threads(threads);
            let ep = Epilogue::default();
            let t = best(|| gemm(m, n, k, &a, rsa, csa, &b, rsb, csb, &mut c, n, &ep));
            let flop = 2.0 * (m * n * k) as f64;
            print!(
                " {:>8.2}us {:>8.1}  ",
                t.as_nanos() as f64 / 1e3,
                flop / t.as_nanos() as f64
            );
        }
        println!();
    }
}
