//! Sums over shards against whole results that are added up along the tree.

use proptest::prelude::*;

use super::*;
use crate::gather::scatter_add as scatter_add_whole;
use crate::gemm::tests::numbers;

/// The tree's definition.
fn naive(parts: &[Vec<f32>], factor: f32) -> Vec<f32> {
    if let [one] = parts {
        return one.iter().map(|x| x * factor).collect();
    }
    let (left, right) = parts.split_at(parts.len() / 2);
    let (left, right) = (naive(left, factor), naive(right, factor));
    left.iter().zip(&right).map(|(l, r)| l + r).collect()
}

fn all_groups(parts: &[Vec<f32>], groups: &[usize], factor: f32) -> Vec<u32> {
    let sums = ranges(groups).flat_map(|r| naive(&parts[r], factor));
    sums.map(f32::to_bits).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn groups() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::select(vec![
        vec![1],
        vec![2],
        vec![4],
        vec![8],
        vec![16],
        vec![2, 1],
        vec![1, 2],
        vec![1, 4, 1],
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn sums_are_those_of_the_tree(groups in groups(), len in 0usize..9000, seed: u64) {
        let shards: usize = groups.iter().sum();
        let x: Vec<f32> = numbers(shards * len, seed);
        let parts: Vec<Vec<f32>> = (0..shards).map(|v| x[v * len..(v + 1) * len].to_vec()).collect();
        let mut out = vec![f32::NAN; groups.len() * len];
        sum(&x, &groups, 0.3, &mut out);
        prop_assert_eq!(bits(&out), all_groups(&parts, &groups, 0.3));
    }

    #[test]
    fn products_are_summed_as_whole_ones(
        groups in groups(),
        m in 1usize..140,
        n in prop_oneof![1usize..70, 500usize..530],
        k in prop_oneof![0usize..20, 60usize..80],
        turned: bool,
        seed: u64,
    ) {
        let shards: usize = groups.iter().sum();
        let (a, b) = if turned { ((1, m), (n, 1)) } else { ((k, 1), (1, k)) };
        let p = Products { m, n, k, a, b };
        let left: Vec<f32> = numbers(shards * m * k, seed);
        let right: Vec<f32> = numbers(shards * k * n, seed + 1);
        let parts: Vec<Vec<f32>> = (0..shards)
            .map(|v| {
                let mut c = vec![0.0; m * n];
                let (x, y) = (&left[v * m * k..(v + 1) * m * k], &right[v * k * n..(v + 1) * k * n]);
                gemm(m, n, k, x, a.0, a.1, y, b.0, b.1, &mut c, n, &Epilogue::default());
                c
            })
            .collect();
        let want = all_groups(&parts, &groups, 0.125);
        for threads in [1, 3] {
            let _guard = par::tests::threads(threads);
            let mut out = vec![f32::NAN; groups.len() * m * n];
            products(&p, &left, &right, &groups, 0.125, &mut out);
            prop_assert_eq!(bits(&out), want.clone());
        }
    }

    #[test]
    fn tables_are_summed_as_whole_ones(
        groups in groups(),
        bound in 1usize..40,
        inner in prop_oneof![1usize..5, 30usize..40],
        each in 0usize..12,
        seed: u64,
    ) {
        let shards: usize = groups.iter().sum();
        let mut values: Vec<f32> = numbers(shards * each * inner, seed);
        // Zeros of both signs.
        values.iter_mut().filter(|v| v.abs() < 0.2).for_each(|v| *v *= 0.0);
        let indices: Vec<i32> = numbers::<f32>(shards * each, seed + 1)
            .iter()
            .map(|x| (x.abs() * bound as f32) as i32 % bound as i32)
            .collect();
        let parts: Vec<Vec<f32>> = (0..shards)
            .map(|v| {
                let mut table = vec![0.0; bound * inner];
                let own = v * each..(v + 1) * each;
                let rows = &values[own.start * inner..own.end * inner];
                let dims = [1, bound, inner];
                scatter_add_whole(rows, &indices[own], dims, &mut table).expect("in range");
                table
            })
            .collect();
        let want = all_groups(&parts, &groups, 0.25);
        for threads in [1, 3] {
            let _guard = par::tests::threads(threads);
            let mut out = vec![f32::NAN; groups.len() * bound * inner];
            scatter_add(&values, &indices, [bound, inner], &groups, 0.25, &mut out).expect("in range");
            prop_assert_eq!(bits(&out), want.clone());
        }
    }
}

#[test]
fn indices_out_of_range_are_refused() {
    let mut out = vec![0.0; 4];
    let error = scatter_add(&[1.0; 4], &[0, 2], [2, 2], &[2], 0.5, &mut out).unwrap_err();
    assert!(error.to_string().contains('2'), "{error}");
    assert_eq!(out, [0.0; 4]);
}

#[test]
fn a_last_column_is_never_alone() {
    for n in [2, 63, 65, 513, 577, 1025, 3585, 4097] {
        let p = Products {
            m: 3,
            n,
            k: 2,
            a: (1, 3),
            b: (n, 1),
        };
        let (_, parts) = p.parts();
        for j in 0..parts {
            assert!(
                p.column(parts, j + 1) - p.column(parts, j) > 1,
                "{n} columns, part {j}"
            );
        }
        assert_eq!(p.column(parts, parts), n);
    }
}
