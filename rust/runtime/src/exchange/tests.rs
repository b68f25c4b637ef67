//! Exchanges between threads, each a process' part, against sums over all samples.

use std::collections::HashMap;
use std::sync::Barrier;

use super::*;
use crate::sharded::ReduceResult;

/// What the processes have given to the sum that they are at, by subtree.
type Given = Mutex<HashMap<(u32, u32), Vec<f32>>>;

struct Together<'a> {
    own: Range<u32>,
    shards: u32,
    given: &'a Given,
    all: &'a Barrier,
    calls: usize,
}

fn joined(first: u32, level: u32, given: &HashMap<(u32, u32), Vec<f32>>) -> Vec<f32> {
    if let Some(sum) = given.get(&(first, level)) {
        return sum.clone();
    }
    let left = joined(first, level - 1, given);
    let right = joined(first + (1 << (level - 1)), level - 1, given);
    left.iter().zip(right).map(|(a, b)| a + b).collect()
}

impl Reducer for Together<'_> {
    fn begin(&mut self) -> ReduceResult<(u32, Range<u32>)> {
        Ok((self.shards, self.own.clone()))
    }

    fn all_reduce(&mut self, data: &mut [f32]) -> ReduceResult<()> {
        self.calls += 1;
        let found = subtrees(self.own.clone());
        let length = data.len() / found.len().max(1);
        for (k, subtree) in found.into_iter().enumerate() {
            let own = data[k * length..(k + 1) * length].to_vec();
            self.given.lock().unwrap().insert(subtree, own);
        }
        self.all.wait();
        let sum = joined(0, self.shards.trailing_zeros(), &self.given.lock().unwrap());
        data[..length].copy_from_slice(&sum);
        // Nobody clears what another still reads.
        if self.all.wait().is_leader() {
            self.given.lock().unwrap().clear();
        }
        self.all.wait();
        Ok(())
    }

    fn abandon(&mut self, _reason: &str) {}
}

/// Samples of each shard, of so many features; some shards have none.
fn samples(shards: u32, features: usize) -> Vec<Vec<Vec<f32>>> {
    let number = |v: u32, i: usize, c: usize| {
        let wave = (f64::from(v) * 1.7 + i as f64 * 0.9 + c as f64 * 0.31).sin();
        (1000.0 * (c % 3) as f64 + wave * (1.0 + f64::from(v))) as f32
    };
    let shard = |v: u32| {
        let rows = (v as usize * 3 + 1) % 5;
        (0..rows)
            .map(|i| (0..features).map(|c| number(v, i, c)).collect())
            .collect()
    };
    (0..shards).map(shard).collect()
}

/// Mean and biased variance of each feature.
fn naive(rows: &[&Vec<f32>], features: usize) -> Vec<f64> {
    let n = rows.len().max(1) as f64;
    let mean = |c: usize| rows.iter().map(|r| f64::from(r[c])).sum::<f64>() / n;
    let about = |c: usize, m: f64| {
        rows.iter()
            .map(|r| (f64::from(r[c]) - m).powi(2))
            .sum::<f64>()
    };
    let means: Vec<f64> = (0..features).map(mean).collect();
    let variances = (0..features).map(|c| about(c, means[c]) / n);
    means.iter().copied().chain(variances).collect()
}

/// What processes that have so many shards each get, and how often they summed.
fn run(counts: &[u32], combine: Combine, features: usize) -> (Vec<Vec<f32>>, usize) {
    let shards: u32 = counts.iter().sum();
    let all = samples(shards, features);
    let total: usize = all.iter().map(Vec::len).sum();
    let shares: Vec<f32> = all
        .iter()
        .map(|s| (s.len() as f64 / total as f64) as f32)
        .collect();
    let (given, barrier) = (Given::default(), Barrier::new(counts.len()));
    let mut first = 0;
    let results = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for &count in counts {
            let own = first..first + count;
            first = own.end;
            let (all, shares, given, barrier) = (&all, shares.clone(), &given, &barrier);
            threads.push(scope.spawn(move || {
                let mut reducer = Together {
                    own: own.clone(),
                    shards,
                    given,
                    all: barrier,
                    calls: 0,
                };
                let values: Vec<f32> = own
                    .clone()
                    .flat_map(|v| {
                        let rows: Vec<&Vec<f32>> = all[v as usize].iter().collect();
                        naive(&rows, features).into_iter().map(|x| x as f32)
                    })
                    .collect();
                let exchange = Exchange::new(&mut reducer, shares, own);
                let combined = exchange.combine(combine, &values, 2 * features).unwrap();
                let (_, ran) = exchange.end(Ok(()));
                ran.unwrap();
                (combined, reducer.calls)
            }));
        }
        let ended = threads.into_iter().map(|t| t.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    let calls = results[0].1;
    assert!(results.iter().all(|r| r.1 == calls));
    (results.into_iter().map(|r| r.0).collect(), calls)
}

fn assert_same_bits(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn statistics_are_those_of_all_samples() {
    for shards in [1, 2, 4, 8] {
        let all = samples(shards, 5);
        let rows: Vec<&Vec<f32>> = all.iter().flatten().collect();
        let (found, _) = run(&[shards], Combine::Moments, 5);
        for (x, exact) in found[0].iter().zip(naive(&rows, 5)) {
            let error = (f64::from(*x) - exact).abs() / (1.0 + exact.abs());
            // Means of 2000 are rounded to 1e-4, which the variances feel; as differences of squares
            // they would be off by more than 0.1.
            assert!(error < 1e-4, "{shards} shards: {x} instead of {exact}");
        }
    }
}

#[test]
fn who_has_which_shards_does_not_show() {
    // Few features are gathered, many are summed twice.
    for (features, expected) in [(3, 1), (1500, 2)] {
        for combine in [Combine::Mean, Combine::Moments] {
            let (alone, _) = run(&[8], combine, features);
            for counts in [
                &[4, 4][..],
                &[3, 3, 2],
                &[2, 2, 2, 2],
                &[0, 8],
                &[1, 7],
                &[5, 0, 3],
            ] {
                let (found, calls) = run(counts, combine, features);
                for one in &found {
                    assert_same_bits(one, &alone[0]);
                }
                let moments = combine == Combine::Moments;
                assert_eq!(calls, if moments { expected } else { 1 });
            }
        }
    }
}

#[test]
fn both_ways_to_statistics_have_the_same_bits() {
    let shards = 8;
    let features = 700;
    let (gathered, _) = run(&[3, 5], Combine::Moments, features);
    let all = samples(shards, features);
    let total: usize = all.iter().map(Vec::len).sum();
    let shares: Vec<f32> = all
        .iter()
        .map(|s| (s.len() as f64 / total as f64) as f32)
        .collect();
    let values: Vec<Vec<f32>> = all
        .iter()
        .map(|s| naive(&s.iter().collect::<Vec<_>>(), features))
        .map(|v| v.into_iter().map(|x| x as f32).collect())
        .collect();
    let mut reducer = crate::sharded::AllShards(shards);
    let exchange = Exchange::new(&mut reducer, shares, 0..shards);
    let mut state = exchange.state();
    let own = |v: u32| values[v as usize].as_slice();
    let summed = exchange.moments_by(2 * features, &own, &mut |n, leaf| {
        exchange.sum(&mut state, n, leaf)
    });
    assert_same_bits(&summed.unwrap(), &gathered[0]);
}

#[test]
fn other_numbers_than_the_shards_have_are_refused() {
    let mut reducer = crate::sharded::AllShards(4);
    let exchange = Exchange::new(&mut reducer, vec![0.25; 4], 0..4);
    assert!(exchange.combine(Combine::Mean, &[0.0; 6], 2).is_err());
    assert!(!exchange.has_begun());
    exchange.combine(Combine::Mean, &[0.0; 8], 2).unwrap();
    assert!(exchange.has_begun());
}
