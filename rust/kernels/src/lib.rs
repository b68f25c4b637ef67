//! Pure compute kernels on slices and views: no graph, no Python.
