//! The symbolic graph: nodes, shapes, autodiff and passes. Knows no kernels and no Python.
