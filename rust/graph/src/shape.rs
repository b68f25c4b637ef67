//! Symbolic shapes: a known or unknown size for each axis.

/// The size of one axis, or `None` when it is only known once a plan is made.
pub type Dim = Option<usize>;

/// The sizes of all axes. The rank is always known.
pub type Shape = Vec<Dim>;

/// The symbolic shape whose sizes are all known.
pub fn known(dims: &[usize]) -> Shape {
    dims.iter().copied().map(Some).collect()
}

/// The sizes, if all of them are known.
pub fn concrete(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().copied().collect()
}

/// The number of elements, if all sizes are known.
pub fn size(shape: &[Dim]) -> Option<usize> {
    shape.iter().copied().try_fold(1usize, |n, d| Some(n * d?))
}

/// NumPy's broadcast of two shapes, or `None` when they do not fit.
///
/// An unknown size broadcast with a known size above 1 is taken to be that size; with 1 or with
/// another unknown size it stays unknown.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], i: usize| {
        if i + s.len() < rank {
            Some(1)
        } else {
            s[i + s.len() - rank]
        }
    };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (Some(x), Some(y)) if x == y => Some(Some(x)),
            (Some(1), d) | (d, Some(1)) => Some(d),
            (Some(x), None) | (None, Some(x)) => Some(Some(x)),
            (None, None) => Some(None),
            (Some(_), Some(_)) => None,
        })
        .collect()
}

/// `(2, None, 3)`, as Python writes it.
pub fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape
        .iter()
        .map(|d| d.map_or_else(|| "None".to_string(), |n| n.to_string()))
        .collect();
    match dims.as_slice() {
        [one] => format!("({one},)"),
        all => format!("({})", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(
            broadcast(&[Some(2), Some(1)], &[Some(3)]),
            Some(known(&[2, 3]))
        );
        assert_eq!(
            broadcast(&[None, Some(4)], &[Some(1), Some(4)]),
            Some(vec![None, Some(4)])
        );
        assert_eq!(broadcast(&[], &[None]), Some(vec![None]));
        assert_eq!(broadcast(&[Some(2)], &[Some(3)]), None);
    }

    #[test]
    fn shapes_print_as_python_tuples() {
        assert_eq!(show(&[None]), "(None,)");
        assert_eq!(show(&[Some(2), None]), "(2, None)");
        assert_eq!(show(&[]), "()");
    }
}
