//! Graphs as bytes, for another process of the same version.
//!
//! What a graph refers to outside itself, its variables, is left out: the writer gets their
//! identities in the order of their numbers, the reader gives tensors for them in that order. Nodes
//! keep their order, types, layers and keys of random numbers, so that both processes compute the
//! same. May import the graph's own types alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{GraphError, Result};
use crate::node::{Node, Tensor, TensorType};
use crate::op::{Op, Scan, ScanBody, VarId};

impl Serialize for Scan {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "a scan goes by its body's number",
        ))
    }
}

impl<'de> Deserialize<'de> for Scan {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("a scan goes by its body's number"))
    }
}

/// Changes with every change of the layout, so that versions do not misread each other.
const FORMAT: u32 = 2;

/// Place of a tensor: number of the node, output.
type Place = (usize, usize);

#[derive(Serialize, Deserialize)]
struct Record {
    kind: Kind,
    inputs: Vec<Place>,
    outputs: Vec<TensorType>,
    scope: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Plain(Op),
    /// A variable by its number.
    Variable(usize),
    /// A scan by the number of its body.
    Scan(usize),
}

#[derive(Serialize, Deserialize)]
struct Body {
    slices: Vec<Place>,
    states: Vec<Place>,
    captured: Vec<Place>,
    outputs: Vec<Place>,
    next: Vec<Place>,
    reverse: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    records: Vec<Record>,
    bodies: Vec<Body>,
    tensors: Vec<Place>,
}

/// A graph as bytes.
#[derive(Clone, Debug)]
pub struct Written {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The variables that the graph reads, by number.
    pub variables: Vec<VarId>,
}

/// Writes tensors and everything that they are computed from.
///
/// # Errors
/// When the graph cannot be put into bytes.
pub fn write(tensors: &[Tensor]) -> Result<Written> {
    let nodes = reachable(tensors);
    let numbers: HashMap<u64, usize> = nodes.keys().copied().zip(0..).collect();
    let place = |t: &Tensor| (numbers[&t.node.id], t.index);
    let places = |list: &[Tensor]| list.iter().map(place).collect::<Vec<_>>();
    let (mut variables, mut bodies) = (Vec::new(), Vec::new());
    let mut body_numbers = HashMap::new();
    let mut records = Vec::with_capacity(nodes.len());
    for node in nodes.values() {
        let kind = match &node.op {
            Op::Variable(id) => Kind::Variable(number_of(&mut variables, *id)),
            Op::Scan(scan) => Kind::Scan(*body_numbers.entry(scan.body.id).or_insert_with(|| {
                let body = &scan.body;
                bodies.push(Body {
                    slices: places(&body.slices),
                    states: places(&body.states),
                    captured: places(&body.captured),
                    outputs: places(&body.outputs),
                    next: places(&body.next),
                    reverse: body.reverse,
                });
                bodies.len() - 1
            })),
            op => Kind::Plain(op.clone()),
        };
        records.push(Record {
            kind,
            inputs: places(&node.inputs),
            outputs: node.outputs.clone(),
            scope: node.scope.as_deref().map(str::to_string),
        });
    }
    let file = File {
        format: FORMAT,
        records,
        bodies,
        tensors: places(tensors),
    };
    let bytes = postcard::to_stdvec(&file).map_err(|e| GraphError::Transfer(e.to_string()))?;
    Ok(Written { bytes, variables })
}

/// The nodes that tensors are computed from, in the order in which they were made.
fn reachable(tensors: &[Tensor]) -> BTreeMap<u64, Arc<Node>> {
    let mut nodes = BTreeMap::new();
    let mut pending: Vec<Tensor> = tensors.to_vec();
    while let Some(tensor) = pending.pop() {
        let node = tensor.node;
        if nodes.contains_key(&node.id) {
            continue;
        }
        pending.extend(node.inputs.iter().cloned());
        if let Op::Scan(scan) = &node.op {
            let b = &scan.body;
            for list in [&b.slices, &b.states, &b.captured, &b.outputs, &b.next] {
                pending.extend(list.iter().cloned());
            }
        }
        nodes.insert(node.id, node);
    }
    nodes
}

fn number_of(list: &mut Vec<VarId>, id: VarId) -> usize {
    list.iter().position(|v| *v == id).unwrap_or_else(|| {
        list.push(id);
        list.len() - 1
    })
}

/// Builds the graph that [`write`] wrote and returns its tensors.
///
/// # Errors
/// When the bytes are not a graph of this version, or a variable does not fit.
pub fn read(bytes: &[u8], variables: &[Tensor]) -> Result<Vec<Tensor>> {
    let fail = |what: &str| GraphError::Transfer(what.to_string());
    let file: File =
        postcard::from_bytes(bytes).map_err(|e| GraphError::Transfer(e.to_string()))?;
    if file.format != FORMAT {
        return Err(fail("it comes from another version of the library"));
    }
    let mut built: Vec<Arc<Node>> = Vec::with_capacity(file.records.len());
    let mut bodies: HashMap<usize, Arc<ScanBody>> = HashMap::new();
    for record in file.records {
        let inputs = tensors_at(&built, &record.inputs)?;
        let scope = record.scope.map(Arc::from);
        let op = match record.kind {
            Kind::Plain(op) => op,
            Kind::Variable(number) => {
                let given = variables
                    .get(number)
                    .ok_or_else(|| fail("a variable is missing"))?;
                if record.outputs.first() != given.node.outputs.first() {
                    return Err(fail("a variable has another type or shape"));
                }
                built.push(given.node.clone());
                continue;
            }
            Kind::Scan(number) => {
                if let std::collections::hash_map::Entry::Vacant(slot) = bodies.entry(number) {
                    let body = file
                        .bodies
                        .get(number)
                        .ok_or_else(|| fail("a body is missing"))?;
                    slot.insert(Arc::new(read_body(&built, body)?));
                }
                Op::Scan(Scan {
                    body: bodies[&number].clone(),
                    step: None,
                })
            }
        };
        built.push(Node::with_types(op, inputs, record.outputs, scope, None).node);
    }
    tensors_at(&built, &file.tensors)
}

fn read_body(built: &[Arc<Node>], body: &Body) -> Result<ScanBody> {
    Ok(ScanBody {
        id: crate::ops::scan::next_body_id(),
        slices: tensors_at(built, &body.slices)?,
        states: tensors_at(built, &body.states)?,
        captured: tensors_at(built, &body.captured)?,
        outputs: tensors_at(built, &body.outputs)?,
        next: tensors_at(built, &body.next)?,
        reverse: body.reverse,
    })
}

fn tensors_at(built: &[Arc<Node>], places: &[Place]) -> Result<Vec<Tensor>> {
    places
        .iter()
        .map(|&(number, index)| {
            let node = built.get(number).filter(|n| index < n.outputs.len());
            node.map(|node| Tensor {
                node: node.clone(),
                index,
            })
            .ok_or_else(|| GraphError::Transfer("a tensor is missing".to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::literal::Literal;
    use crate::op::{BinaryOp, ReduceOp, UnaryOp};
    use crate::ops::samples;
    use crate::shape::known;
    use crate::testing::{Array, run_graph};

    fn leaf(op: Op, dtype: DType, shape: &[usize]) -> Tensor {
        let ty = TensorType {
            dtype,
            shape: known(shape),
        };
        Node::leaf(op, ty, None)
    }

    fn build(op: Op, inputs: Vec<Tensor>) -> Tensor {
        Node::build(op, inputs, Some("layer".into())).unwrap()
    }

    #[test]
    fn a_graph_computes_the_same_after_the_journey() {
        let x = leaf(Op::Placeholder, DType::F32, &[2, 3]);
        let two = leaf(
            Op::Constant(Literal::scalar(DType::F32, 2.0)),
            DType::F32,
            &[],
        );
        let product = build(Op::Binary(BinaryOp::Mul), vec![x.clone(), two]);
        let squared = build(Op::Unary(UnaryOp::Square), vec![product.clone()]);
        let op = Op::Reduce {
            op: ReduceOp::Sum,
            axes: vec![1],
            keepdims: false,
        };
        let sum = build(op, vec![squared]);
        let written = write(&[x.clone(), sum.clone(), product]).unwrap();
        let read = read(&written.bytes, &[]).unwrap();
        let data = Array::new(DType::F32, &[2, 3], vec![1.0, -2.0, 3.0, 0.5, 0.0, 7.0]);
        let before = run_graph(&[sum], &[(x, data.clone())]);
        let after = run_graph(&read[1..2], &[(read[0].clone(), data)]);
        assert_eq!(before[0].data, after[0].data);
        assert_eq!(read[1].node.scope.as_deref(), Some("layer"));
        assert!(read[0].node.id < read[1].node.id);
    }

    #[test]
    fn variables_are_given_by_the_reader() {
        let a = leaf(Op::Variable(70), DType::F32, &[2]);
        let b = leaf(Op::Variable(60), DType::F32, &[2]);
        let sum = build(Op::Binary(BinaryOp::Sub), vec![b, a]);
        let written = write(std::slice::from_ref(&sum)).unwrap();
        assert_eq!(written.variables, [70, 60]);
        let given = [7, 6].map(|id| leaf(Op::Variable(id), DType::F32, &[2]));
        let read_back = read(&written.bytes, &given).unwrap();
        assert_eq!(read_back[0].node.inputs[0], given[1]);
        assert!(read(&written.bytes, &given[..1]).is_err());
        let wrong = [7, 6].map(|id| leaf(Op::Variable(id), DType::F32, &[3]));
        assert!(read(&written.bytes, &wrong).is_err());
    }

    #[test]
    fn every_operation_survives() {
        for sample in samples() {
            let bytes = match &sample.op {
                Op::Scan(_) => continue,
                op => postcard::to_stdvec(op).unwrap(),
            };
            let read: Op = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(read, sample.op);
        }
    }

    #[test]
    fn scans_keep_their_bodies() {
        let slice = leaf(Op::Placeholder, DType::F32, &[]);
        let state = leaf(Op::Placeholder, DType::F32, &[]);
        let next = build(
            Op::Binary(BinaryOp::Add),
            vec![slice.clone(), state.clone()],
        );
        let sequence = leaf(Op::Placeholder, DType::F32, &[3]);
        let initial = leaf(Op::Placeholder, DType::F32, &[]);
        let scanned = crate::ops::scan::scan(
            std::slice::from_ref(&sequence),
            std::slice::from_ref(&initial),
            vec![slice],
            vec![state],
            vec![next.clone()],
            vec![next],
            false,
            None,
        )
        .unwrap();
        let written = write(&[sequence, initial, scanned.outputs[0].clone()]).unwrap();
        let read_back = read(&written.bytes, &[]).unwrap();
        let Op::Scan(scan) = &read_back[2].node.op else {
            panic!("no scan came out");
        };
        assert_eq!(scan.body.next.len(), 1);
        assert_eq!(scan.body.slices[0].node.op, Op::Placeholder);
        assert_eq!(read_back[2].shape(), [Some(3)]);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&[][..], &[9; 40], &[2, 1, 0, 0]] {
            assert!(read(bytes, &[]).is_err());
        }
    }
}
