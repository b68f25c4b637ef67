//! Where the values go that [`hornbeam_graph::Op::Print`] shows.

use std::sync::OnceLock;

use hornbeam_graph::Literal;

use crate::function::ArrayRef;

/// Takes a message and the value behind it. It is called while a plan runs, and must not run one.
pub type Sink = fn(&str, ArrayRef<'_>);

static SINK: OnceLock<Sink> = OnceLock::new();

/// Chooses where values go: the first choice holds. Without one they go to standard error.
pub fn set_sink(sink: Sink) {
    // A second choice is the same module, imported again.
    let _ = SINK.set(sink);
}

/// Hands a value on.
pub(crate) fn show(message: &str, value: ArrayRef<'_>) {
    match SINK.get() {
        Some(sink) => sink(message, value),
        None => {
            let numbers = Literal::new(value.dtype, value.shape.to_vec(), value.bytes).to_f64();
            eprintln!("{message}{numbers:?}");
        }
    }
}
