//! Tile programs and the memory-bound kernels: best-of-many times on one thread and on all, and
//! memory traffic. Arguments filter rows by name; `section=pool` (or `rows`, `random`, `movement`,
//! `programs`, `instructions`) runs that section alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hornbeam_kernels::copy::transpose;
use hornbeam_kernels::dtype::DType;
use hornbeam_kernels::gather::{gather, scatter_add};
use hornbeam_kernels::moments::moments;
use hornbeam_kernels::par;
use hornbeam_kernels::pool::{PoolShape, avg_pool, max_pool, max_pool_backward};
use hornbeam_kernels::reduce::{ArgOp, arg_reduce, reduce};
use hornbeam_kernels::rng::{
    Stream, fill_bernoulli_mask, fill_normal, fill_truncated_normal, fill_uniform,
};
use hornbeam_kernels::softmax::{softmax, sparse_softmax_cross_entropy};
use hornbeam_kernels::tile::{
    BinaryOp, Instr, ReduceAxes, ReduceOp, Reduction, Scalar, TileKernel, TileProgram, UnaryOp,
};

/// The best time of a call within a fifth of a second, at least three calls.
fn best(f: &mut dyn FnMut()) -> Duration {
    f();
    let start = Instant::now();
    let mut best = Duration::MAX;
    let mut count = 0;
    while count < 3 || start.elapsed() < Duration::from_millis(200) {
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

/// A part of the table.
type Section = fn(&Table);

struct Table {
    section: Option<String>,
    filters: Vec<String>,
    threads: usize,
}

impl Table {
    /// One row: times on one thread and on all, and the memory traffic of the latter.
    fn row(&self, name: &str, bytes: usize, f: &mut dyn FnMut()) {
        if !self.filters.is_empty() && !self.filters.iter().any(|p| name.contains(p.as_str())) {
            return;
        }
        par::set_num_threads(1);
        let one = best(f);
        par::set_num_threads(self.threads);
        let all = if self.threads > 1 { best(f) } else { one };
        let us = |d: Duration| d.as_secs_f64() * 1e6;
        let rate = bytes as f64 / all.as_secs_f64() / 1e9;
        println!("{name:<44} {:>10.3} {:>10.3} {rate:>9.1}", us(one), us(all));
    }
}

/// A program's kernel with memory for all of its operands.
struct Bound {
    kernel: TileKernel,
    inputs: Vec<*const u8>,
    outputs: Vec<*mut u8>,
    reductions: Vec<*mut u8>,
}

impl Bound {
    /// `in_place`: the inputs that the first outputs overwrite.
    fn new(
        program: &TileProgram,
        shape: &[usize],
        split: usize,
        strides: &[&[isize]],
        in_place: &[usize],
    ) -> Bound {
        let n: usize = shape.iter().product();
        let mut whole = vec![1isize; shape.len()];
        for axis in (1..shape.len()).rev() {
            whole[axis - 1] = whole[axis] * shape[axis] as isize;
        }
        let contiguous: Vec<&[isize]> =
            program.outputs().iter().map(|_| whole.as_slice()).collect();
        let kernel = program
            .bind(shape, split, strides, &contiguous)
            .expect("a program that fits");
        let inputs: Vec<*mut u8> = strides.iter().map(|_| leak(n)).collect();
        let mut outputs: Vec<*mut u8> = in_place.iter().map(|&i| inputs[i]).collect();
        outputs.extend(program.outputs()[in_place.len()..].iter().map(|_| leak(n)));
        Bound {
            kernel,
            inputs: inputs.iter().map(|p| p.cast_const()).collect(),
            outputs,
            reductions: program.reductions().map(|_| leak(n)).collect(),
        }
    }

    fn run(&mut self) {
        // SAFETY: every buffer has the elements of the whole shape, more than strides reach.
        unsafe {
            self.kernel
                .run(black_box(&self.inputs), &self.outputs, &self.reductions)
        };
    }
}

/// A buffer that lives as long as the process.
fn leak(n: usize) -> *mut u8 {
    let values: Vec<f32> = (0..n).map(|i| (i % 7) as f32 * 0.1).collect();
    values.leak().as_mut_ptr().cast()
}

/// m, v, g, p -> m, v, p with the step size as a scalar input.
fn adam() -> TileProgram {
    use BinaryOp::{Add, Div, Mul, Sub};
    let scalar = |v: f32| Instr::Const(Scalar::F32(v));
    let instrs = [
        scalar(0.9),                      // 5
        scalar(0.1),                      // 6
        scalar(0.999),                    // 7
        scalar(0.001),                    // 8
        scalar(1e-7),                     // 9
        Instr::Binary(Mul, 0, 5),         // 10: 0.9 m
        Instr::MulAdd(2, 6, 10),          // 11: m'
        Instr::Unary(UnaryOp::Square, 2), // 12
        Instr::Binary(Mul, 1, 7),         // 13
        Instr::MulAdd(12, 8, 13),         // 14: v'
        Instr::Unary(UnaryOp::Sqrt, 14),  // 15
        Instr::Binary(Add, 15, 9),        // 16
        Instr::Binary(Mul, 11, 4),        // 17: rate m'
        Instr::Binary(Div, 17, 16),       // 18
        Instr::Binary(Sub, 3, 18),        // 19: p'
    ];
    TileProgram::new(&[DType::F32; 5], &instrs, &[11, 14, 19], &[]).expect("a valid program")
}

/// dy, y -> dx = y > 0 ? dy : 0 and its column sums.
fn relu_gradient() -> TileProgram {
    let instrs = [
        Instr::Const(Scalar::F32(0.0)),
        Instr::Binary(BinaryOp::Gt, 1, 2),
        Instr::Select(3, 0, 2),
    ];
    let sums = Reduction {
        op: ReduceOp::Sum,
        reg: 4,
        axes: ReduceAxes::Rows,
    };
    TileProgram::new(&[DType::F32; 2], &instrs, &[4], &[sums]).expect("a valid program")
}

fn bias_relu() -> TileProgram {
    let instrs = [
        Instr::Binary(BinaryOp::Add, 0, 1),
        Instr::Unary(UnaryOp::Relu, 2),
    ];
    TileProgram::new(&[DType::F32; 2], &instrs, &[3], &[]).expect("a valid program")
}

/// x, scale, shift -> relu(x * scale + shift)
fn normalise_relu() -> TileProgram {
    let instrs = [Instr::MulAdd(0, 1, 2), Instr::Unary(UnaryOp::Relu, 3)];
    TileProgram::new(&[DType::F32; 3], &instrs, &[4], &[]).expect("a valid program")
}

fn programs(table: &Table) {
    for n in [32, 1000, 1024, 33_000, 1_000_000, 10_000_000] {
        let flat: &[&[isize]] = &[&[1], &[1], &[1], &[1], &[0]];
        let mut b = Bound::new(&adam(), &[n], 0, flat, &[]);
        table.row(&format!("adam {n}"), n * 28, &mut || b.run());
        let mut b = Bound::new(&adam(), &[n], 0, flat, &[0, 1, 3]);
        table.row(&format!("adam in place {n}"), n * 28, &mut || b.run());
    }
    for (rows, columns) in [(32, 32), (128, 512), (128, 10), (65_536, 64), (8192, 1000)] {
        let n = rows * columns;
        let whole: &[isize] = &[columns as isize, 1];
        let column: &[isize] = &[0, 1];
        let mut b = Bound::new(&relu_gradient(), &[rows, columns], 1, &[whole, whole], &[]);
        table.row(
            &format!("relu gradient + column sums {rows}x{columns}"),
            n * 12,
            &mut || b.run(),
        );
        let mut b = Bound::new(&bias_relu(), &[rows, columns], 1, &[whole, column], &[]);
        table.row(&format!("bias + relu {rows}x{columns}"), n * 8, &mut || {
            b.run()
        });
        let mut b = Bound::new(&bias_relu(), &[rows, columns], 1, &[whole, column], &[0]);
        table.row(
            &format!("bias + relu in place {rows}x{columns}"),
            n * 8,
            &mut || b.run(),
        );
        let mut b = Bound::new(
            &normalise_relu(),
            &[rows, columns],
            1,
            &[whole, column, column],
            &[],
        );
        table.row(
            &format!("normalise + relu {rows}x{columns}"),
            n * 8,
            &mut || b.run(),
        );
    }
}

/// Single instructions on data that stays in the second-level cache.
fn instructions(table: &Table) {
    let n = 32 * 1024;
    for op in UnaryOp::ALL {
        if op == UnaryOp::Not {
            continue;
        }
        let p = TileProgram::new(&[DType::F32], &[Instr::Unary(op, 0)], &[1], &[]).expect("valid");
        let mut b = Bound::new(&p, &[n], 0, &[&[1]], &[]);
        table.row(&format!("unary {op:?} {n}"), n * 8, &mut || b.run());
    }
    for op in BinaryOp::ALL {
        let instrs = [Instr::Binary(op, 0, 1)];
        let Ok(p) = TileProgram::new(&[DType::F32; 2], &instrs, &[2], &[]) else {
            continue;
        };
        let mut b = Bound::new(&p, &[n], 0, &[&[1], &[1]], &[]);
        table.row(&format!("binary {op:?} {n}"), n * 12, &mut || b.run());
    }
    for op in [ReduceOp::Sum, ReduceOp::Max] {
        for (axes, shape) in [
            (ReduceAxes::All, [1, n]),
            (ReduceAxes::Columns, [32, 1024]),
            (ReduceAxes::Columns, [3200, 10]),
            (ReduceAxes::Rows, [32, 1024]),
            (ReduceAxes::Rows, [3200, 10]),
        ] {
            let reduction = Reduction { op, reg: 0, axes };
            let p = TileProgram::new(&[DType::F32], &[], &[], &[reduction]).expect("valid");
            let mut b = Bound::new(&p, &shape, 1, &[&[shape[1] as isize, 1]], &[]);
            let name = format!("reduce {op:?} {axes:?} {}x{}", shape[0], shape[1]);
            table.row(&name, n * 4, &mut || b.run());
        }
    }
}

/// Softmax and reductions.
fn rows(table: &Table) {
    let labels: Vec<i32> = (0..8192).map(|i| i % 1000).collect();
    for (rows, columns) in [(128, 1000), (1024, 1000), (8192, 1000)] {
        let (x, mut y) = (values(rows * columns), values(rows * columns));
        let (bytes, mut loss) = (rows * columns * 8, vec![0.0f32; rows]);
        table.row(&format!("softmax {rows}x{columns}"), bytes, &mut || {
            softmax(&x, columns, &mut y).expect("fits");
        });
        let name = format!("softmax + cross-entropy + gradient {rows}x{columns}");
        table.row(&name, bytes, &mut || {
            let labels = &labels[..rows];
            sparse_softmax_cross_entropy(&x, labels, columns, &mut loss, Some(&mut y))
                .expect("fits");
        });
    }
    let tens: Vec<i32> = (0..128).map(|i| i % 10).collect();
    let (x, mut y, mut loss) = (values(1280), values(1280), vec![0.0f32; 128]);
    table.row(
        "softmax + cross-entropy + gradient 128x10",
        10240,
        &mut || {
            sparse_softmax_cross_entropy(&x, &tens, 10, &mut loss, Some(&mut y)).expect("fits");
        },
    );
    let x = values(4_194_304);
    for (rows, columns) in [(65_536, 64), (419_430, 10), (4096, 1024)] {
        let x = &x[..rows * columns];
        let (mut mean, mut variance) = (vec![0.0; columns], vec![0.0; columns]);
        table.row(
            &format!("moments {rows}x{columns}"),
            x.len() * 4,
            &mut || {
                moments(x, [1, rows, columns], &mut mean, &mut variance).expect("fits");
            },
        );
        table.row(
            &format!("column sums {rows}x{columns}"),
            x.len() * 4,
            &mut || {
                reduce(ReduceOp::Sum, x, [1, rows, columns], &mut mean).expect("fits");
            },
        );
        let (mut sums, mut places) = (vec![0.0; rows], vec![0; rows]);
        table.row(
            &format!("row maxima {rows}x{columns}"),
            x.len() * 4,
            &mut || {
                reduce(ReduceOp::Max, x, [rows, columns, 1], &mut sums).expect("fits");
            },
        );
        table.row(
            &format!("argmax {rows}x{columns}"),
            x.len() * 4,
            &mut || {
                arg_reduce(ArgOp::Max, x, [rows, columns, 1], &mut places).expect("fits");
            },
        );
    }
}

fn random(table: &Table) {
    let stream = Stream::new(1, 2, 3, 0);
    let mut mask = vec![0u8; 1_200_000];
    table.row("dropout mask 128x9375", mask.len(), &mut || {
        fill_bernoulli_mask(&stream, 9375, 0.75, &mut mask).expect("fits");
    });
    table.row("dropout mask 1x1200000", mask.len(), &mut || {
        fill_bernoulli_mask(&stream, 1_200_000, 0.75, &mut mask).expect("fits");
    });
    let mut x = values(1_000_000);
    let n = x.len();
    table.row("uniform 1000000", 4 * n, &mut || {
        fill_uniform(&stream, n, 0.0, 1.0, &mut x).expect("fits")
    });
    table.row("normal 1000000", 4 * n, &mut || {
        fill_normal(&stream, n, 0.0, 1.0, &mut x).expect("fits")
    });
    table.row("truncated normal 1000000", 4 * n, &mut || {
        fill_truncated_normal(&stream, n, 0.0, 1.0, &mut x).expect("fits");
    });
}

/// Transposes, gather and scatter.
fn movement(table: &Table) {
    let x = values(4_194_304);
    let mut y = values(x.len());
    for (name, shape, permutation) in [
        ("transpose 2048x2048", vec![2048, 2048], vec![1, 0]),
        (
            "NHWC to NCHW 16x64x64x64",
            vec![16, 64, 64, 64],
            vec![0, 3, 1, 2],
        ),
        (
            "NCHW to NHWC 16x64x64x64",
            vec![16, 64, 64, 64],
            vec![0, 2, 3, 1],
        ),
        (
            "NHWC to NCHW 341x64x64x3",
            vec![341, 64, 64, 3],
            vec![0, 3, 1, 2],
        ),
    ] {
        let n: usize = shape.iter().product();
        table.row(name, 8 * n, &mut || {
            transpose(&x[..n], &shape, &permutation, &mut y[..n]).expect("fits")
        });
    }
    let indices: Vec<i32> = (0..32_768).map(|i| (i * 7919) % 20_000).collect();
    let mut embedding = values(20_000 * 128);
    table.row("gather 32768 rows of 128", 8 * x.len(), &mut || {
        gather(&embedding, [1, 20_000, 128], &indices, &mut y).expect("fits");
    });
    table.row("scatter-add 32768 rows of 128", 12 * x.len(), &mut || {
        scatter_add(&x, &indices, [1, 20_000, 128], &mut embedding).expect("fits");
    });
}

/// 2 x 2 over 16.8 MB.
fn pooling(table: &Table) {
    let shape = PoolShape {
        batch: 16,
        input: [1, 64, 64],
        channels: 64,
        output: [1, 32, 32],
        window: [1, 2, 2],
        stride: [1, 2, 2],
        pad_low: [0; 3],
    };
    let (x, mut y) = (values(shape.input_len()), values(shape.output_len()));
    let (mut index, mut dx) = (vec![0u8; y.len()], values(x.len()));
    let bytes = x.len() * 5;
    table.row("max pool 2x2, 16.8 MB", bytes, &mut || {
        max_pool(&x, &shape, &mut y, Some(&mut index)).expect("fits");
    });
    table.row("max pool 2x2 gradient", bytes, &mut || {
        max_pool_backward(&y, &index, &shape, &mut dx).expect("fits");
    });
    table.row("average pool 2x2", bytes, &mut || {
        avg_pool(&x, &shape, &mut y).expect("fits")
    });
    let shape = PoolShape {
        output: [1, 31, 31],
        window: [1, 3, 3],
        ..shape
    };
    let n = shape.output_len();
    table.row("max pool 3x3 stride 2", bytes, &mut || {
        max_pool(&x, &shape, &mut y[..n], Some(&mut index[..n])).expect("fits");
    });
    table.row("max pool 3x3 stride 2 gradient", bytes, &mut || {
        max_pool_backward(&y[..n], &index[..n], &shape, &mut dx).expect("fits");
    });
}

fn values(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 9) as f32 * 1e-6)
        .collect()
}

fn main() {
    let arguments = || std::env::args().skip(1).filter(|a| !a.starts_with('-'));
    let table = Table {
        section: arguments().find_map(|a| Some(a.strip_prefix("section=")?.to_string())),
        filters: arguments().filter(|a| !a.starts_with("section=")).collect(),
        threads: par::num_threads(),
    };
    println!(
        "{:<44} {:>10} {:>10} {:>9}",
        "", "1 thread", "all, us", "GB/s"
    );
    let sections: [(&str, Section); 6] = [
        ("pool", pooling),
        ("rows", rows),
        ("random", random),
        ("movement", movement),
        ("programs", programs),
        ("instructions", instructions),
    ];
    for (name, section) in sections {
        if table.section.as_ref().is_none_or(|s| s == name) {
            section(&table);
        }
    }
}
