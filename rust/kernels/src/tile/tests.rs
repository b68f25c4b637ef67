//! Random programs on random layouts against an interpreter of single elements.

mod interpreter;

use interpreter::*;
use proptest::prelude::*;

use super::*;
use crate::dtype::DType;
use crate::error::KernelError;
use crate::par;

/// Runs a random program and compares every output element; `in_place` puts outputs into inputs.
fn check_elementwise(shape: &[usize], seed: u64, in_place: bool) {
    let mut bits = Bits(seed);
    let inputs: Vec<DType> = (0..3).map(|_| DTYPES[bits.below(6)]).collect();
    let (instrs, types) = bits.program(&inputs);
    let outs: Vec<Reg> = (0..3).map(|_| bits.below(types.len()) as Reg).collect();
    check_program(&inputs, &instrs, &outs, shape, &mut bits, in_place);
}

/// Runs a program on random operands and compares every output element.
fn check_program(
    inputs: &[DType],
    instrs: &[Instr],
    outs: &[Reg],
    shape: &[usize],
    bits: &mut Bits,
    in_place: bool,
) {
    let program = TileProgram::new(inputs, instrs, outs, &[]).expect("a valid program");
    let operands = inputs.iter().map(|&t| bits.operand(t, shape, in_place));
    let operands: Vec<Operand> = operands.collect();
    let spread = bits.below(3) == 0 && !in_place;
    let results = program.outputs().iter().map(|&t| {
        let result = bits.operand(t, shape, true);
        if spread { result.spread() } else { result }
    });
    let results: Vec<Operand> = results.collect();
    let layouts: Vec<&[isize]> = operands.iter().map(|o| o.strides.as_slice()).collect();
    let out_layouts: Vec<&[isize]> = results.iter().map(|o| o.strides.as_slice()).collect();
    let mut kernel = program
        .bind(shape, 0, &layouts, &out_layouts)
        .expect("fitting operands");
    let points = indices(shape);
    let at = |i: &Vec<usize>| evaluate(instrs, operands.iter().map(|o| o.get(i)).collect());
    let expected: Vec<Vec<Scalar>> = points.iter().map(at).collect();
    for tasks in 1..=4 {
        kernel.tasks = tasks.min(kernel.cut.cells.max(1));
        // As if there were more, for a part of the runs.
        kernel.is_far = tasks == 2;
        kernel.streams = tasks > 2;
        let memory = operands.clone();
        let mut free = vec![in_place; memory.len()];
        let mut written = results.clone();
        let targets: Vec<*mut u8> = written
            .iter_mut()
            .map(
                |o| match (0..memory.len()).find(|&i| free[i] && inputs[i] == o.dtype) {
                    Some(i) => {
                        free[i] = false;
                        memory[i].ptr()
                    }
                    None => o.ptr(),
                },
            )
            .collect();
        let sources: Vec<*const u8> = memory.iter().map(|o| o.ptr().cast_const()).collect();
        // SAFETY: the operands hold what their strides reach; those that coincide are contiguous.
        unsafe { kernel.run(&sources, &targets, &[]) };
        for (o, &reg) in outs.iter().enumerate() {
            for (i, e) in points.iter().zip(&expected) {
                let (got, want) = (written[o].get_from(targets[o], i), e[usize::from(reg)]);
                assert!(
                    same(got, want),
                    "output {o} at {i:?}: {got:?}, not {want:?} from {e:?} by {instrs:?}"
                );
            }
        }
    }
}

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![Just(1usize), Just(2), Just(3), Just(8), Just(17), Just(0)];
    prop_oneof![
        prop::collection::vec(size, 0..5),
        (1usize..2000).prop_map(|n| vec![n]),
        (1usize..60, 1usize..60).prop_map(|(a, b)| vec![a, b]),
        (1usize..4, 500usize..1100).prop_map(|(a, b)| vec![a, b]),
        (1usize..4, 1usize..12, 1usize..40).prop_map(|(a, b, c)| vec![a, b, c]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn programs_match_the_interpreter(shape in shapes(), seed in any::<u64>()) {
        check_elementwise(&shape, seed, false);
    }

    #[test]
    fn programs_match_the_interpreter_in_place(shape in shapes(), seed in any::<u64>()) {
        check_elementwise(&shape, seed, true);
    }

    #[test]
    fn what_is_run_as_one_has_the_same_bits(
        shape in shapes(), seed in any::<u64>(), in_place in any::<bool>(),
    ) {
        let mut bits = Bits(seed);
        for dtype in [DType::F32, DType::F64] {
            for (instrs, _) in optimizers(dtype) {
                let last = 4 + instrs.len() as Reg;
                // What is read elsewhere too is not taken in.
                let outs = [last, bits.below(usize::from(last) + 1) as Reg];
                let outs = &outs[..1 + bits.below(2)];
                check_program(&[dtype; 5], &instrs, outs, &shape, &mut bits, in_place);
            }
        }
    }

    #[test]
    fn reductions_match_the_interpreter(shape in shapes(), seed in any::<u64>()) {
        check_reductions(&shape, seed);
    }
}

/// Updates as optimizers make them, of five inputs, and how many instructions they come down to.
fn optimizers(dtype: DType) -> Vec<(Vec<Instr>, usize)> {
    use BinaryOp::{Add, Div, Lt, Mul, Sub};
    let binary = Instr::Binary;
    let unary = Instr::Unary;
    let zero = Instr::Const(Scalar::from_f64(0.0, dtype));
    let products = |op| vec![binary(Mul, 0, 1), binary(Mul, 2, 3), binary(op, 5, 6)];
    let square = vec![
        binary(Mul, 0, 1),
        unary(UnaryOp::Square, 3),
        binary(Mul, 2, 6),
        binary(Add, 5, 7),
    ];
    // The step that follows `instrs`, by the root of a value.
    let step = |mut instrs: Vec<Instr>, value: Reg| {
        let next = 5 + instrs.len() as Reg;
        instrs.extend([
            binary(Mul, 1, 2),
            unary(UnaryOp::Sqrt, value),
            binary(Add, next + 1, 4),
            binary(Div, next, next + 2),
            binary(Sub, 0, next + 3),
        ]);
        instrs
    };
    let clip = |mut instrs: Vec<Instr>, value: Reg| {
        let next = 5 + instrs.len() as Reg;
        instrs.extend([
            zero,
            binary(Lt, value, next),
            Instr::Select(next + 1, next, value),
        ]);
        (instrs, next + 2)
    };
    // 0 for a last value that is smaller than the last input.
    let or_zero = |mut instrs: Vec<Instr>| {
        let (value, next) = (4 + instrs.len() as Reg, 5 + instrs.len() as Reg);
        instrs.extend([
            zero,
            unary(UnaryOp::Abs, value),
            binary(Lt, next + 1, 4),
            Instr::Select(next + 2, next, value),
        ]);
        instrs
    };
    // The first input times the root of the ratio of two sums, clipped or not.
    let ratio = |is_clipped: bool| {
        let mut instrs = vec![binary(Add, 1, 2), binary(Add, 3, 4), binary(Div, 5, 6)];
        let mut value = 7;
        if is_clipped {
            (instrs, value) = clip(instrs, value);
        }
        let next = 5 + instrs.len() as Reg;
        instrs.extend([unary(UnaryOp::Sqrt, value), binary(Mul, 0, next)]);
        instrs
    };
    let (clipped, of) = clip(Vec::new(), 3);
    let (mean, of_mean) = clip(square.clone(), 8);
    vec![
        (vec![binary(Mul, 1, 2), binary(Add, 0, 5)], 1),
        (vec![binary(Mul, 1, 2), binary(Add, 5, 0)], 1),
        (vec![unary(UnaryOp::Square, 1), binary(Add, 0, 5)], 1),
        (vec![binary(Mul, 1, 2), binary(Sub, 0, 5)], 1),
        (ratio(false), 1),
        (ratio(true), 1),
        (or_zero(products(Add)), 1),
        (or_zero(products(Sub)), 1),
        (or_zero(square.clone()), 1),
        (products(Add), 1),
        (products(Sub), 1),
        (square, 1),
        (step(Vec::new(), 3), 1),
        (step(clipped, of), 1),
        (step(mean, of_mean), 2),
    ]
}

#[test]
fn what_optimizers_do_is_run_as_one() {
    for (instrs, expected) in optimizers(DType::F32) {
        let last = 4 + instrs.len() as Reg;
        let size = |outs: &[Reg]| {
            let program = TileProgram::new(&[DType::F32; 5], &instrs, outs, &[]);
            program.expect("valid").size().0
        };
        assert_eq!(size(&[last]), expected, "{instrs:?}");
        // A part that is wanted as well stays by itself.
        assert!(size(&[last, last - 1]) > expected, "{instrs:?}");
    }
    let whole = [
        Instr::Binary(BinaryOp::Mul, 0, 0),
        Instr::Binary(BinaryOp::Mul, 0, 0),
        Instr::Binary(BinaryOp::Add, 1, 2),
    ];
    let program = TileProgram::new(&[DType::I32], &whole, &[3], &[]).expect("valid");
    assert_eq!(program.size().0, 3, "integers");
}

#[test]
fn large_operands_are_far() {
    let instrs = [
        Instr::Binary(BinaryOp::Mul, 1, 2),
        Instr::Binary(BinaryOp::Sub, 0, 3),
    ];
    let program = TileProgram::new(&[DType::F32; 3], &instrs, &[4], &[]).expect("valid");
    let is_far = |n: usize, scalar: isize| {
        let kernel = program.bind(&[n], 0, &[&[1], &[1], &[scalar]], &[&[1]]);
        kernel.expect("fitting operands").is_far
    };
    // 2 or 3 operands of 4 bytes an element.
    assert!(is_far(1 << 20, 0) && !is_far((1 << 20) - 1, 0));
    assert!(is_far((1 << 20) - 1, 1));
}

#[test]
fn a_result_of_what_is_run_as_one_may_lie_where_an_operand_does() {
    let instrs = [
        Instr::Binary(BinaryOp::Mul, 1, 2),
        Instr::Binary(BinaryOp::Sub, 0, 3),
    ];
    let program = TileProgram::new(&[DType::F32; 3], &instrs, &[4], &[]).expect("valid");
    assert_eq!(program.code.in_place, [0b111]);
    let program = TileProgram::new(&[DType::F32; 3], &instrs[..1], &[3], &[]).expect("valid");
    assert_eq!(program.code.in_place, [0b001]);
}

/// One reduction of every kind over every set of axes, beside an elementwise output.
fn check_reductions(shape: &[usize], seed: u64) {
    let mut bits = Bits(seed);
    let dtype = DTYPES[bits.below(6)];
    let split = bits.below(shape.len() + 1);
    let ops = [
        ReduceOp::Sum,
        ReduceOp::Mean,
        ReduceOp::Prod,
        ReduceOp::Max,
        ReduceOp::Min,
        ReduceOp::Any,
        ReduceOp::All,
    ];
    let axes = [ReduceAxes::All, ReduceAxes::Columns, ReduceAxes::Rows];
    let fits = |op: &ReduceOp| op.check(dtype).is_ok();
    let pairs = ops
        .into_iter()
        .filter(fits)
        .flat_map(|op| axes.map(|a| (op, a)));
    let wanted = pairs.map(|(op, axes)| Reduction { op, reg: 2, axes });
    let wanted: Vec<Reduction> = wanted.filter(|_| bits.below(2) == 0).collect();
    let instrs = [Instr::Binary(BinaryOp::Max, 0, 1)];
    let program = TileProgram::new(&[dtype; 2], &instrs, &[2], &wanted).expect("valid");
    let x = bits.operand(dtype, shape, true);
    let y = bits.operand(dtype, shape, false);
    let out = bits.operand(dtype, shape, true);
    let mut kernel = program
        .bind(shape, split, &[&x.strides, &y.strides], &[&out.strides])
        .expect("fitting operands");
    let columns: usize = shape[split..].iter().product();
    let rows: usize = shape[..split].iter().product();
    let values = indices(shape)
        .into_iter()
        .map(|i| binary(BinaryOp::Max, x.get(&i), y.get(&i)));
    let values: Vec<Scalar> = values.collect();
    let mut first: Option<Vec<Vec<u64>>> = None;
    for tasks in 1..=3 {
        kernel.tasks = tasks.min(kernel.cut.cells.max(1));
        let count = |r: &Reduction| match r.axes {
            ReduceAxes::All => 1,
            ReduceAxes::Columns => rows,
            ReduceAxes::Rows => columns,
        };
        let mut results: Vec<Vec<u64>> = wanted.iter().map(|r| vec![0; count(r)]).collect();
        let targets: Vec<*mut u8> = results.iter_mut().map(|r| r.as_mut_ptr().cast()).collect();
        // SAFETY: the operands hold what their strides reach, the results their counts.
        unsafe {
            kernel.run(
                &[x.ptr(), y.ptr()].map(|p| p.cast_const()),
                &[out.ptr()],
                &targets,
            )
        };
        for (r, result) in wanted.iter().zip(&results) {
            for k in 0..count(r) {
                let belongs = |i: &usize| match r.axes {
                    ReduceAxes::All => true,
                    ReduceAxes::Columns => i / columns == k,
                    ReduceAxes::Rows => i % columns == k,
                };
                let part = (0..values.len()).filter(belongs).map(|i| values[i]);
                let part: Vec<Scalar> = part.collect();
                let at = result.as_ptr().cast::<u8>().wrapping_add(k * dtype.size());
                check_reduced(r.op, &part, read(at, dtype));
            }
        }
        assert_eq!(
            first.get_or_insert_with(|| results.clone()),
            &results,
            "{tasks} tasks"
        );
    }
}

fn check_reduced(op: ReduceOp, part: &[Scalar], got: Scalar) {
    let dtype = got.dtype();
    let start = match op {
        ReduceOp::Sum | ReduceOp::Mean => Scalar::from_f64(0.0, dtype),
        ReduceOp::Prod => Scalar::from_f64(1.0, dtype),
        ReduceOp::Max if dtype == DType::I64 => Scalar::I64(i64::MIN),
        ReduceOp::Min if dtype == DType::I64 => Scalar::I64(i64::MAX),
        ReduceOp::Max | ReduceOp::Any => Scalar::from_f64(f64::NEG_INFINITY, dtype),
        ReduceOp::Min | ReduceOp::All => Scalar::from_f64(f64::INFINITY, dtype),
    };
    // Booleans have no lowest and highest value but 0 and 1; what bytes hold is not looked at.
    let start = match (start, op) {
        (Scalar::Bool(_), _) => Scalar::Bool(matches!(op, ReduceOp::Min | ReduceOp::All)),
        (s, _) => s,
    };
    if dtype.is_float() && !matches!(op, ReduceOp::Max | ReduceOp::Min) {
        let values = || part.iter().map(|&v| as_f64(v));
        let (exact, magnitude) = match op {
            ReduceOp::Prod => {
                let p: f64 = values().product();
                (p, p.abs())
            }
            _ => (values().sum(), values().map(f64::abs).sum()),
        };
        let n = if op == ReduceOp::Mean {
            part.len() as f64
        } else {
            1.0
        };
        let (got, exact, magnitude) = (as_f64(got), exact / n, magnitude / n);
        let epsilon = if dtype == DType::F32 { 1.2e-7 } else { 2.3e-16 };
        // Few roundings follow each other in a sum; a product has one a factor, and may leave
        // the range of single precision on its way.
        let bound = match op {
            ReduceOp::Prod => epsilon * part.len() as f64,
            _ => epsilon * 70.0,
        };
        let close = (got - exact).abs() <= bound * magnitude;
        let range = if dtype == DType::F32 {
            1e-30..1e30
        } else {
            1e-250..1e250
        };
        let lost = op == ReduceOp::Prod && !range.contains(&magnitude);
        let nan = exact.is_nan() && got.is_nan();
        assert!(
            close || nan || lost || got == exact,
            "{op:?}: {got}, not {exact}"
        );
        return;
    }
    let combine = match op {
        ReduceOp::Sum => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max => BinaryOp::Max,
        ReduceOp::Min => BinaryOp::Min,
        ReduceOp::Any => BinaryOp::Or,
        ReduceOp::All => BinaryOp::And,
        ReduceOp::Mean => unreachable!("floats only"),
    };
    let want = part.iter().fold(start, |a, &b| binary(combine, a, b));
    let zeros = as_f64(want) == 0.0 && as_f64(got) == 0.0;
    assert!(same(got, want) || zeros, "{op:?}: {got:?}, not {want:?}");
}

#[test]
fn sums_of_many_elements_stay_accurate() {
    let sum = Reduction {
        op: ReduceOp::Sum,
        reg: 0,
        axes: ReduceAxes::Rows,
    };
    let all = Reduction {
        axes: ReduceAxes::All,
        ..sum
    };
    let program = TileProgram::new(&[DType::F32], &[], &[], &[sum, all]).expect("valid");
    let (rows, columns) = (200_000, 3);
    let kernel = program
        .bind(&[rows, columns], 1, &[&[3, 1]], &[])
        .expect("fits");
    let x = vec![0.1f32; rows * columns];
    let (mut sums, mut total) = ([0f32; 3], 0f32);
    // SAFETY: the arrays have the shape that the kernel was bound to.
    unsafe {
        let results = [sums.as_mut_ptr().cast(), (&raw mut total).cast()];
        kernel.run(&[x.as_ptr().cast()], &[], &results);
    }
    let exact = f64::from(0.1f32) * rows as f64;
    for s in sums {
        assert!((f64::from(s) / exact - 1.0).abs() < 1e-6, "{s} {exact}");
    }
    assert!((f64::from(total) / exact / 3.0 - 1.0).abs() < 1e-6);
}

#[test]
fn the_number_of_threads_does_not_change_bits() {
    let mut bits = Bits(7);
    let x: Vec<f32> = (0..300_000)
        .map(|_| bits.next() as i32 as f32 * 1e-9)
        .collect();
    let axes = [ReduceAxes::All, ReduceAxes::Columns, ReduceAxes::Rows];
    let sums = axes.map(|axes| Reduction {
        op: ReduceOp::Sum,
        reg: 1,
        axes,
    });
    let instrs = [Instr::Unary(UnaryOp::Tanh, 0)];
    let program = TileProgram::new(&[DType::F32], &instrs, &[1], &sums).expect("valid");
    for columns in [10, 64, 1000] {
        let rows = x.len() / columns;
        let strides: &[isize] = &[columns as isize, 1];
        let kernel = program
            .bind(&[rows, columns], 1, &[strides], &[strides])
            .expect("fits");
        assert!(kernel.tasks > 1);
        let mut first = None;
        for threads in 1..=3 {
            let mut results = [
                vec![0f32; x.len()],
                vec![0.0; 1],
                vec![0.0; rows],
                vec![0.0; columns],
            ];
            let targets = results.each_mut().map(|r| r.as_mut_ptr().cast::<u8>());
            let _guard = par::tests::threads(threads);
            // SAFETY: the arrays have the shapes that the kernel was bound to.
            unsafe { kernel.run(&[x.as_ptr().cast()], &targets[..1], &targets[1..]) };
            assert_eq!(first.get_or_insert_with(|| results.clone()), &results);
        }
    }
}

#[test]
fn bad_programs_are_refused() {
    use DType::{Bool, F32, I32};
    let new = |inputs: &[DType], instr: Instr| TileProgram::new(inputs, &[instr], &[], &[]).err();
    let register = new(&[F32], Instr::Unary(UnaryOp::Exp, 1)).expect("no value 1");
    assert!(matches!(
        register,
        KernelError::Register {
            reg: 1,
            known: 1,
            ..
        }
    ));
    assert!(matches!(
        new(&[I32], Instr::Unary(UnaryOp::Exp, 0)),
        Some(KernelError::DType { got: I32, .. })
    ));
    assert!(matches!(
        new(&[I32, F32], Instr::Binary(BinaryOp::Add, 0, 1)),
        Some(KernelError::DTypeMismatch {
            left: I32,
            right: F32,
            ..
        })
    ));
    assert!(new(&[I32; 2], Instr::Binary(BinaryOp::Div, 0, 1)).is_some());
    assert!(new(&[Bool; 2], Instr::Binary(BinaryOp::Add, 0, 1)).is_some());
    assert!(new(&[F32; 3], Instr::Select(0, 1, 2)).is_some());
    assert!(new(&[I32; 3], Instr::MulAdd(0, 1, 2)).is_some());
    assert!(TileProgram::new(&[F32], &[], &[1], &[]).is_err());
    let program = TileProgram::new(&[F32], &[], &[0], &[]).expect("a copy");
    assert!(program.bind(&[2, 2], 0, &[&[1]], &[&[2, 1]]).is_err());
    assert!(program.bind(&[2], 0, &[], &[&[1]]).is_err());
    assert!(program.bind(&[2], 2, &[&[1]], &[&[1]]).is_err());
}

#[test]
fn dead_code_and_equal_constants_cost_nothing() {
    let one = Instr::Const(Scalar::F32(1.0));
    let instrs = [
        one,                                // 1
        one,                                // 2
        Instr::Binary(BinaryOp::Add, 0, 1), // 3
        Instr::Binary(BinaryOp::Add, 0, 2), // 4
        Instr::Unary(UnaryOp::Exp, 4),      // 5, which nothing needs
        Instr::Cast(DType::F32, 3),         // 6, the same as 3
    ];
    let program = TileProgram::new(&[DType::F32], &instrs, &[6], &[]).expect("valid");
    assert_eq!(program.size(), (1, 0));
    assert_eq!(program.code.consts.len(), 1);
}

#[test]
fn large_angles_are_reduced_exactly() {
    let x = [
        1e10f32,
        -3e20,
        f32::MAX,
        2.0,
        f32::INFINITY,
        1e9,
        -1e9,
        5e9,
        7e12,
    ];
    for (op, f) in [
        (UnaryOp::Sin, f64::sin as fn(f64) -> f64),
        (UnaryOp::Cos, f64::cos),
        (UnaryOp::Tan, f64::tan),
    ] {
        let p = TileProgram::new(&[DType::F32], &[Instr::Unary(op, 0)], &[1], &[]).expect("valid");
        let kernel = p.bind(&[x.len()], 0, &[&[1]], &[&[1]]).expect("fits");
        let mut y = [0f32; 9];
        // SAFETY: both arrays have the bound length.
        unsafe { kernel.run(&[x.as_ptr().cast()], &[y.as_mut_ptr().cast()], &[]) };
        for (&x, &y) in x.iter().zip(&y) {
            let want = f(x.into()) as f32;
            assert!(
                y == want || (y.is_nan() && want.is_nan()),
                "{op:?}({x}) = {y}, not {want}"
            );
        }
    }
}
