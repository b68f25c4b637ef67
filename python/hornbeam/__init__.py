"""hornbeam: a Keras-compatible training framework with a Rust compute core."""
