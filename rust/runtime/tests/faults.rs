//! A panic in a kernel becomes an error that names the operation and the layer; variables keep
//! their values and the process goes on.

use std::sync::Arc;

use hornbeam_graph::op::Epilogue;
use hornbeam_graph::program::{Inst, Source, Value};
use hornbeam_graph::{DType, Literal, Op, Program};
use hornbeam_runtime::buffer::exclusive;
use hornbeam_runtime::dispatch::RunContext;
use hornbeam_runtime::plan::Plan;
use hornbeam_runtime::{RuntimeError, Variable};

fn value(shape: &[usize], source: Source) -> Value {
    Value {
        dtype: DType::F32,
        shape: shape.to_vec(),
        source,
    }
}

/// A product whose operands do not fit: no pass would make one, and the kernel panics on it.
#[test]
fn a_panic_in_a_kernel_is_an_error() {
    let variable = Variable::new(&Literal::from_f64(DType::F32, vec![1], &[7.0])).unwrap();
    let program = Program {
        values: vec![
            value(&[4, 8], Source::Input(0)),
            value(&[3, 2], Source::Variable(variable.id)),
            value(&[4, 2], Source::Inst { inst: 0, output: 0 }),
        ],
        insts: vec![Inst {
            op: Op::MatMul {
                transpose_a: false,
                transpose_b: false,
                epilogue: Epilogue::default(),
            },
            inputs: vec![0, 0],
            outputs: vec![2],
            scope: Some(Arc::from("dense_1")),
        }],
        inputs: vec![0],
        outputs: vec![2],
        updates: vec![],
    };
    let mut plan = Plan::new(program).unwrap();
    let bytes = vec![0u8; 4 * 8 * 4];
    let held = exclusive();
    let failure = plan
        .run(&[&bytes], RunContext::default(), &held)
        .unwrap_err();
    assert!(matches!(failure, RuntimeError::Panic { .. }), "{failure}");
    let text = failure.to_string();
    assert!(
        text.contains("dense_1") && text.contains("MatMul"),
        "{text}"
    );
    drop(held);
    assert_eq!(variable.get().to_f64(), [7.0]);
}
