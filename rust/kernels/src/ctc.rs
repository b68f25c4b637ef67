//! Prefix beam search over the outputs of a connectionist temporal classifier.
//!
//! A beam is a labelling with the probability of all alignments found so far that end in it, apart
//! for those that end in a blank and those that end in its last label (Graves and Jaitly, 2014).
//! Probabilities are added up in `f64`, as logarithms.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::error::KernelError;
use crate::par::SendPtr;
use crate::work::{self, Part};

/// What a search is for, and the sizes of its operands.
#[derive(Clone, Copy, Debug)]
pub struct BeamSearch {
    /// Number of sequences.
    pub samples: usize,
    /// Steps of each; how many count is an operand.
    pub steps: usize,
    /// Classes, of which the last one is the blank.
    pub classes: usize,
    /// Labellings kept at each step.
    pub beam_width: usize,
    /// Labellings that are returned, the likeliest first.
    pub top_paths: usize,
}

/// No probability at all.
const NEVER: f64 = f64::NEG_INFINITY;
/// The place of the empty labelling.
const ROOT: u32 = 0;

/// Searches the likeliest labellings of each sequence.
///
/// `log_p` is `[samples, steps, classes]`; `lengths` says how many steps of each count. `paths`
/// takes `[samples, top_paths, steps]` labels, filled up with -1, and `scores` the logarithms of
/// their probabilities, `[samples, top_paths]`: minus infinity where there are not so many.
///
/// # Errors
/// When a length is out of `0..=steps` (nothing is written then), or sizes do not fit.
pub fn beam_search<T: Copy + Into<f64> + Send + Sync>(
    search: BeamSearch,
    log_p: &[T],
    lengths: &[i64],
    paths: &mut [i64],
    scores: &mut [f64],
) -> Result<(), KernelError> {
    let BeamSearch {
        samples,
        steps,
        classes,
        top_paths,
        ..
    } = search;
    let name = "ctc_beam_search";
    KernelError::check_len(name, "input", samples * steps * classes, log_p.len())?;
    KernelError::check_len(name, "lengths", samples, lengths.len())?;
    KernelError::check_len(name, "paths", samples * top_paths * steps, paths.len())?;
    KernelError::check_len(name, "scores", samples * top_paths, scores.len())?;
    if let Some(position) = lengths.iter().position(|&n| n < 0 || n > steps as i64) {
        return Err(KernelError::Index {
            op: name,
            index: lengths[position],
            position,
            bound: steps + 1,
        });
    }
    let paths = SendPtr::new(paths.as_mut_ptr());
    let scores = SendPtr::new(scores.as_mut_ptr());
    let cost = steps * search.beam_width * classes * 200;
    work::ranges(samples, cost, &|range| {
        for n in range {
            let used = lengths[n] as usize * classes;
            let rows = &log_p[n * steps * classes..][..used];
            // SAFETY: the rows of a sample are one task's.
            let paths = unsafe { paths.slice(n * top_paths * steps..(n + 1) * top_paths * steps) };
            // SAFETY: as above.
            let scores = unsafe { scores.slice(n * top_paths..(n + 1) * top_paths) };
            let mut beams = Beams::new();
            for row in rows.chunks_exact(classes) {
                beams.advance(row, search.beam_width);
            }
            beams.write(steps, paths, scores);
        }
    });
    Ok(())
}

/// The logarithms of a labelling's probability.
#[derive(Clone, Copy)]
struct Mass {
    /// Over alignments that end in a blank.
    blank: f64,
    /// Over those that end in the last label.
    label: f64,
}

impl Mass {
    const NONE: Mass = Mass {
        blank: NEVER,
        label: NEVER,
    };

    fn total(self) -> f64 {
        log_add(self.blank, self.label)
    }
}

fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == NEVER {
        return high;
    }
    high + (low - high).exp().ln_1p()
}

/// A labelling: another one and a label behind it.
struct Prefix {
    parent: u32,
    label: i64,
    mass: Mass,
}

/// A labelling that may be among the next beams; `child` is a label that lengthens it.
struct Candidate {
    prefix: u32,
    child: Option<i64>,
    mass: Mass,
    total: f64,
}

struct Beams {
    /// All labellings that were beams, the root first.
    prefixes: Vec<Prefix>,
    children: HashMap<(u32, i64), u32>,
    /// The beams, the likeliest first.
    alive: Vec<u32>,
}

impl Beams {
    fn new() -> Beams {
        let root = Prefix {
            parent: ROOT,
            label: -1,
            mass: Mass {
                blank: 0.0,
                label: NEVER,
            },
        };
        Beams {
            prefixes: vec![root],
            children: HashMap::new(),
            alive: vec![ROOT],
        }
    }

    /// Takes a step with these logarithms of probabilities.
    fn advance<T: Copy + Into<f64>>(&mut self, log_p: &[T], width: usize) {
        let blank = log_p.len() - 1;
        let mut next = Vec::with_capacity(self.alive.len() * log_p.len());
        for &at in &self.alive {
            next.push(self.stay(at, log_p));
            for (label, &p) in log_p[..blank].iter().enumerate() {
                let label = label as i64;
                let is_beam = self
                    .children
                    .get(&(at, label))
                    .is_some_and(|&c| self.prefixes[c as usize].mass.total() > NEVER);
                // What reaches another beam is counted there.
                if !is_beam {
                    let mass = Mass {
                        blank: NEVER,
                        label: p.into() + self.before(at, label),
                    };
                    next.push(Candidate {
                        prefix: at,
                        child: Some(label),
                        mass,
                        total: mass.label,
                    });
                }
            }
        }
        next.retain(|c| c.total > NEVER);
        // The sort is stable, so that equal ones stay in an order that depends on nothing else.
        next.sort_by(|a, b| b.total.partial_cmp(&a.total).unwrap_or(Ordering::Equal));
        next.truncate(width);
        for &at in &self.alive {
            self.prefixes[at as usize].mass = Mass::NONE;
        }
        self.alive.clear();
        for c in next {
            let at = match c.child {
                None => c.prefix,
                Some(label) => self.child(c.prefix, label),
            };
            self.prefixes[at as usize].mass = c.mass;
            self.alive.push(at);
        }
    }

    /// A beam after a step that leaves its labelling, or completes it from its parent's.
    fn stay<T: Copy + Into<f64>>(&self, at: u32, log_p: &[T]) -> Candidate {
        let prefix = &self.prefixes[at as usize];
        let mut mass = Mass {
            blank: prefix.mass.total() + log_p[log_p.len() - 1].into(),
            label: NEVER,
        };
        if at != ROOT {
            let arriving = log_add(prefix.mass.label, self.before(prefix.parent, prefix.label));
            mass.label = arriving + log_p[prefix.label as usize].into();
        }
        Candidate {
            prefix: at,
            child: None,
            mass,
            total: mass.total(),
        }
    }

    /// The mass of a labelling that a label may follow: the same label needs a blank between.
    fn before(&self, at: u32, label: i64) -> f64 {
        let prefix = &self.prefixes[at as usize];
        if prefix.label == label {
            prefix.mass.blank
        } else {
            prefix.mass.total()
        }
    }

    fn child(&mut self, parent: u32, label: i64) -> u32 {
        let next = self.prefixes.len() as u32;
        let at = *self.children.entry((parent, label)).or_insert(next);
        if at == next {
            self.prefixes.push(Prefix {
                parent,
                label,
                mass: Mass::NONE,
            });
        }
        at
    }

    fn write(&self, steps: usize, paths: &mut [i64], scores: &mut [f64]) {
        paths.fill(-1);
        scores.fill(NEVER);
        for (k, (&beam, score)) in self.alive.iter().zip(scores).enumerate() {
            *score = self.prefixes[beam as usize].mass.total();
            let (mut at, mut labels) = (beam, Vec::new());
            while at != ROOT {
                labels.push(self.prefixes[at as usize].label);
                at = self.prefixes[at as usize].parent;
            }
            let row = &mut paths[k * steps..(k + 1) * steps];
            for (to, label) in row.iter_mut().zip(labels.into_iter().rev()) {
                *to = label;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every labelling with the sum over all of its alignments.
    fn by_enumeration(p: &[f64], steps: usize, classes: usize) -> Vec<(Vec<i64>, f64)> {
        let mut sums: HashMap<Vec<i64>, f64> = HashMap::new();
        for code in 0..classes.pow(steps as u32) {
            let (mut rest, mut before, mut labels, mut product) = (code, classes, vec![], 1.0);
            for t in 0..steps {
                let class = rest % classes;
                rest /= classes;
                product *= p[t * classes + class];
                if class != before && class != classes - 1 {
                    labels.push(class as i64);
                }
                before = class;
            }
            *sums.entry(labels).or_default() += product;
        }
        let mut all: Vec<_> = sums.into_iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    fn probabilities(n: usize, classes: usize, mut seed: u64) -> Vec<f64> {
        let mut p: Vec<f64> = (0..n * classes)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                0.05 + (seed >> 40) as f64 / (1 << 24) as f64
            })
            .collect();
        for row in p.chunks_mut(classes) {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
        p
    }

    fn search(s: BeamSearch, p: &[f64], lengths: &[i64]) -> (Vec<i64>, Vec<f64>) {
        let logs: Vec<f64> = p.iter().map(|v| v.ln()).collect();
        let mut paths = vec![7; s.samples * s.top_paths * s.steps];
        let mut scores = vec![0.0; s.samples * s.top_paths];
        beam_search(s, &logs, lengths, &mut paths, &mut scores).unwrap();
        (paths, scores)
    }

    #[test]
    fn a_wide_beam_finds_what_enumeration_finds() {
        for (classes, steps, seed) in [(3, 5, 1), (4, 4, 2), (2, 6, 3), (3, 1, 4)] {
            let p = probabilities(steps, classes, seed);
            let expected = by_enumeration(&p, steps, classes);
            let s = BeamSearch {
                samples: 1,
                steps,
                classes,
                beam_width: 1000,
                top_paths: expected.len() + 1,
            };
            let (paths, scores) = search(s, &p, &[steps as i64]);
            for (k, (labels, probability)) in expected.iter().enumerate() {
                assert!((scores[k] - probability.ln()).abs() < 1e-9, "{k}");
                let mut row = labels.clone();
                row.resize(steps, -1);
                assert_eq!(&paths[k * steps..(k + 1) * steps], row);
            }
            assert_eq!(scores[expected.len()], NEVER);
        }
    }

    #[test]
    fn a_narrow_beam_never_finds_more_than_there_is() {
        let (classes, steps) = (4, 6);
        let p = probabilities(3 * steps, classes, 9);
        let lengths = [6, 3, 0];
        let s = BeamSearch {
            samples: 3,
            steps,
            classes,
            beam_width: 5,
            top_paths: 2,
        };
        let (paths, scores) = search(s, &p, &lengths);
        for (n, &length) in lengths.iter().enumerate() {
            let rows = &p[n * steps * classes..][..length as usize * classes];
            let all: HashMap<_, _> = by_enumeration(rows, length as usize, classes)
                .into_iter()
                .collect();
            for k in 0..2 {
                let at = n * 2 + k;
                let row = &paths[at * steps..(at + 1) * steps];
                let labels: Vec<i64> = row.iter().copied().filter(|&v| v >= 0).collect();
                if scores[at] > NEVER {
                    assert!(scores[at].exp() <= all[&labels] * (1.0 + 1e-12));
                } else {
                    assert!(labels.is_empty());
                }
            }
        }
        assert_eq!((scores[4], scores[5]), (0.0, NEVER));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_written() {
        let s = BeamSearch {
            samples: 1,
            steps: 2,
            classes: 2,
            beam_width: 1,
            top_paths: 1,
        };
        for length in [-1, 3] {
            let (mut paths, mut scores) = ([7, 7], [0.5]);
            let found = beam_search(s, &[0.0f32; 4], &[length], &mut paths, &mut scores);
            assert!(matches!(found, Err(KernelError::Index { .. })));
            assert_eq!((paths, scores), ([7, 7], [0.5]));
        }
    }
}
