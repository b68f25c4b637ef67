//! Convolutions of known networks: best-of-many times of the three computations and their rate in
//! GFLOP/s of the plain sums, on all threads. Arguments filter rows by name; HORNBEAM_WINOGRAD=0
//! shows direct convolution.

use std::time::{Duration, Instant};

use hornbeam_kernels::conv::{
    Conv2d, Epilogue, conv2d, conv2d_grad_filter, conv2d_grad_filter_scratch_len,
    conv2d_grad_input, conv2d_grad_input_scratch_len, conv2d_scratch_len,
};
use hornbeam_kernels::par;

/// The best time of a call within a quarter of a second, at least three calls.
fn best(mut f: impl FnMut()) -> Duration {
    f();
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut count = 0;
    while count < 3 || start.elapsed() < Duration::from_millis(250) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed());
        count += 1;
    }
    best
}

/// A convolution of square images with `same` padding, or `valid`.
fn square(
    n: usize,
    size: usize,
    ci: usize,
    co: usize,
    k: usize,
    stride: usize,
    same: bool,
) -> Conv2d {
    let o = if same {
        size.div_ceil(stride)
    } else {
        (size - k) / stride + 1
    };
    let pad = ((o - 1) * stride + k).saturating_sub(size) / 2;
    Conv2d {
        n,
        h: size,
        w: size,
        ci,
        kh: k,
        kw: k,
        co,
        sh: stride,
        sw: stride,
        dh: 1,
        dw: 1,
        pad_top: pad,
        pad_left: pad,
        oh: o,
        ow: o,
    }
}

fn main() {
    let line = square(32, 400, 50, 250, 3, 1, false);
    let rows = [
        ("mnist 1-32", square(128, 28, 1, 32, 3, 1, false)),
        ("mnist 32-64", square(128, 26, 32, 64, 3, 1, false)),
        ("vgg 3-64 at 32", square(64, 32, 3, 64, 3, 1, true)),
        ("vgg 64-64 at 32", square(64, 32, 64, 64, 3, 1, true)),
        ("vgg 64-128 at 16", square(64, 16, 64, 128, 3, 1, true)),
        ("vgg 128-128 at 16", square(64, 16, 128, 128, 3, 1, true)),
        ("vgg 128-256 at 8", square(64, 8, 128, 256, 3, 1, true)),
        ("vgg 256-256 at 8", square(64, 8, 256, 256, 3, 1, true)),
        ("resnet 16-16 at 32", square(64, 32, 16, 16, 3, 1, true)),
        ("resnet 16-32 stride 2", square(64, 32, 16, 32, 3, 2, true)),
        ("resnet 1x1 stride 2", square(64, 32, 16, 32, 1, 2, true)),
        ("resnet 32-32 at 16", square(64, 16, 32, 32, 3, 1, true)),
        ("resnet 64-64 at 8", square(64, 8, 64, 64, 3, 1, true)),
        ("256-256 at 4", square(64, 4, 256, 256, 3, 1, true)),
        (
            "7x7 stride 2, 3-64 at 224",
            square(1, 224, 3, 64, 7, 2, true),
        ),
        (
            "imdb 50-250, 1-D",
            Conv2d {
                h: 1,
                kh: 1,
                oh: 1,
                ..line
            },
        ),
        ("one sample 64-64 at 32", square(1, 32, 64, 64, 3, 1, true)),
    ];
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let kinds = ["forward", "grad input", "grad filter"];
    println!("{} threads", par::num_threads());
    println!(
        "{:26} {:>20} {:>20} {:>20}",
        "us, GFLOP/s", kinds[0], kinds[1], kinds[2]
    );
    for (name, g) in rows {
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let numbers = |len: usize| {
            (0..len)
                .map(|i| (i % 13) as f32 * 0.1 - 0.6)
                .collect::<Vec<_>>()
        };
        let (mut x, mut w, mut y) = (numbers(g.x_len()), numbers(g.w_len()), numbers(g.y_len()));
        let len = conv2d_scratch_len::<f32>(&g)
            .max(conv2d_grad_input_scratch_len::<f32>(&g))
            .max(conv2d_grad_filter_scratch_len::<f32>(&g));
        let mut s = vec![0.0; len];
        let times = [
            best(|| conv2d(&g, &x, &w, &mut y, &Epilogue::default(), &mut s)),
            best(|| conv2d_grad_input(&g, &y, &w, &mut x, &mut s)),
            best(|| conv2d_grad_filter(&g, &x, &y, &mut w, &mut s)),
        ];
        let flop = 2.0 * (g.y_len() * g.kh * g.kw * g.ci) as f64;
        print!("{name:26}");
        for t in times {
            print!(
                " {:>11.1} {:>8.1}",
                t.as_nanos() as f64 / 1e3,
                flop / t.as_nanos() as f64
            );
        }
        println!();
    }
}
