//! Random numbers as a pure function of position: Philox4x32-10.
//!
//! An array is `[samples, elements]`. Element `e` of sample `s` comes from the Philox block with
//! the key of the operation and the counter (step, s, block), whatever the threads and however the
//! samples are spread over calls. One block gives four 32-bit numbers; a 32-bit element takes one,
//! a 64-bit element two.
//!
//! Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (2011).

use crate::error::KernelError;
use crate::math::{Integer, Math};
use crate::par::SendPtr;
use crate::simd::{self, Body};
use crate::work;

#[cfg(test)]
mod tests;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Philox4x32 with ten rounds: four random words for a counter and a key.
#[inline(always)]
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    let [mut k, mut l] = key;
    for _ in 0..10 {
        let p = u64::from(a) * u64::from(MULTIPLIERS[0]);
        let q = u64::from(c) * u64::from(MULTIPLIERS[1]);
        (a, b, c, d) = (
            (q >> 32) as u32 ^ b ^ k,
            q as u32,
            (p >> 32) as u32 ^ d ^ l,
            p as u32,
        );
        (k, l) = (k.wrapping_add(WEYL[0]), l.wrapping_add(WEYL[1]));
    }
    [a, b, c, d]
}

/// A stream of random numbers: one operation at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The key: seed and operation, see [`Stream::new`].
    pub key: u64,
    /// The step of training. Its lowest 48 bits count.
    pub step: u64,
    /// The index of the array's first sample in the global batch. Its lowest 48 bits count.
    pub sample: u64,
}

impl Stream {
    /// The stream of operation number `operation` of a model with the given seed.
    pub fn new(seed: u64, operation: u64, step: u64, sample: u64) -> Stream {
        // Two multiplicative mixes (SplitMix64's) keep neighbouring seeds and operations apart.
        let mix = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let key = mix(mix(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ operation);
        Stream { key, step, sample }
    }

    fn words(&self) -> [u32; 2] {
        [self.key as u32, (self.key >> 32) as u32]
    }

    /// The counter of a block of a sample.
    #[inline(always)]
    fn counter(&self, sample: u64, block: u32) -> [u32; 4] {
        let high = ((sample >> 32) as u32 & 0xFFFF) | (((self.step >> 32) as u32 & 0xFFFF) << 16);
        [block, sample as u32, self.step as u32, high]
    }
}

/// Blocks that are computed at a time.
const WIDTH: usize = 64;

/// The words of [`WIDTH`] blocks, word by word.
type Words = [[u32; WIDTH]; 4];

#[inline(always)]
fn philox_wide(words: &Words, key: [u32; 2], out: &mut Words) {
    // One iteration is all of a block's rounds, so that vectors of blocks stay in registers.
    for i in 0..WIDTH {
        let block = philox([words[0][i], words[1][i], words[2][i], words[3][i]], key);
        for w in 0..4 {
            out[w][i] = block[w];
        }
    }
}

/// How the words of blocks become elements.
trait Distribution: Sync {
    type Out: Copy + Default + Send + Sync;
    /// Elements a block gives: 4 or 2.
    const PER_BLOCK: usize;
    /// Rough cost of an element in picoseconds.
    const COST: usize;
    /// The elements of [`WIDTH`] blocks, element by element of the block.
    fn elements(&self, words: &Words) -> [[Self::Out; WIDTH]; 4];
}

/// A part of the work: blocks `first ..`, as many as `out` needs.
struct Fill<'a, D: Distribution> {
    distribution: &'a D,
    stream: Stream,
    /// Elements and blocks of a sample.
    elements: usize,
    blocks: usize,
    first: usize,
    last: usize,
    out: *mut D::Out,
}

impl<D: Distribution> Body for Fill<'_, D> {
    type Out = ();
    #[inline(always)]
    fn run(self) {
        let mut at = self.first;
        while at < self.last {
            let (sample, block) = (at / self.blocks, at % self.blocks);
            let whole = block + WIDTH <= self.blocks && at + WIDTH <= self.last;
            if whole && (block + WIDTH) * D::PER_BLOCK <= self.elements {
                self.within(sample, block);
            } else {
                self.across(at);
            }
            at += WIDTH;
        }
    }
}

impl<D: Distribution> Fill<'_, D> {
    /// [`WIDTH`] whole blocks of one sample.
    #[inline(always)]
    fn within(&self, sample: usize, block: usize) {
        let start = self
            .stream
            .counter(self.stream.sample + sample as u64, block as u32);
        let mut words: Words = start.map(|w| [w; WIDTH]);
        for i in 0..WIDTH {
            words[0][i] = words[0][i].wrapping_add(i as u32);
        }
        let mut random: Words = [[0; WIDTH]; 4];
        philox_wide(&words, self.stream.words(), &mut random);
        let values = self.distribution.elements(&random);
        let mut row = [[D::Out::default(); 4]; WIDTH];
        for i in 0..WIDTH {
            for e in 0..4 {
                row[i][e] = values[e][i];
            }
        }
        // SAFETY: the elements are within the array and belong to this range of blocks.
        unsafe {
            let mut to = self.out.add(sample * self.elements + block * D::PER_BLOCK);
            if D::PER_BLOCK == 4 {
                to.cast::<[[D::Out; 4]; WIDTH]>().write_unaligned(row);
                return;
            }
            for group in row {
                to.copy_from_nonoverlapping(group.as_ptr(), D::PER_BLOCK);
                to = to.add(D::PER_BLOCK);
            }
        }
    }

    /// Up to [`WIDTH`] blocks of one sample or several, the last ones possibly partly used.
    #[inline(always)]
    fn across(&self, first: usize) {
        let mut words: Words = [[0; WIDTH]; 4];
        let (mut sample, mut block) = (first / self.blocks, first % self.blocks);
        let mut places = [(0, 0); WIDTH];
        for i in 0..WIDTH {
            let counter = self
                .stream
                .counter(self.stream.sample + sample as u64, block as u32);
            for w in 0..4 {
                words[w][i] = counter[w];
            }
            let done = block * D::PER_BLOCK;
            let n = D::PER_BLOCK.min(self.elements - done);
            places[i] = (sample * self.elements + done, n);
            block += 1;
            if block == self.blocks {
                (sample, block) = (sample + 1, 0);
            }
        }
        let mut random: Words = [[0; WIDTH]; 4];
        philox_wide(&words, self.stream.words(), &mut random);
        let values = self.distribution.elements(&random);
        for i in 0..WIDTH.min(self.last - first) {
            let (at, n) = places[i];
            for e in 0..n {
                // SAFETY: the element is within the array and belongs to this range of blocks.
                unsafe { self.out.add(at + e).write(values[e][i]) };
            }
        }
    }
}

fn fill<D: Distribution>(
    distribution: &D,
    stream: &Stream,
    elements: usize,
    out: &mut [D::Out],
) -> Result<(), KernelError> {
    if out.is_empty() {
        return Ok(());
    }
    if elements == 0 || out.len() % elements != 0 {
        return Err(KernelError::Shape {
            op: "random",
            what: "output",
            expected: format!("whole samples of {elements} elements"),
            got: out.len().to_string(),
        });
    }
    let blocks = elements.div_ceil(D::PER_BLOCK);
    let total = out.len() / elements * blocks;
    let target = SendPtr::new(out.as_mut_ptr());
    // Ranges of whole groups of blocks keep the threads on the fast path.
    work::ranges(
        total.div_ceil(WIDTH),
        WIDTH * D::PER_BLOCK * D::COST,
        &|range| {
            simd::dispatch(Fill {
                distribution,
                stream: *stream,
                elements,
                blocks,
                first: range.start * WIDTH,
                last: (range.end * WIDTH).min(total),
                out: target.get(),
            });
        },
    );
    Ok(())
}

/// Real element types of random arrays.
pub trait Real: Math + Default {
    #[doc(hidden)]
    const PER_BLOCK: usize;
    /// Uniform on `[0, 1)`.
    #[doc(hidden)]
    fn unit(words: &Words, element: usize, i: usize) -> Self;
    /// Uniform on `(0, 1]`.
    #[doc(hidden)]
    fn unit_above_zero(words: &Words, element: usize, i: usize) -> Self;
}

impl Real for f32 {
    const PER_BLOCK: usize = 4;
    #[inline(always)]
    fn unit(words: &Words, element: usize, i: usize) -> Self {
        (words[element][i] >> 8) as i32 as f32 * (1.0 / 16_777_216.0)
    }
    #[inline(always)]
    fn unit_above_zero(words: &Words, element: usize, i: usize) -> Self {
        ((words[element][i] >> 8) as i32 + 1) as f32 * (1.0 / 16_777_216.0)
    }
}

impl Real for f64 {
    const PER_BLOCK: usize = 2;
    #[inline(always)]
    fn unit(words: &Words, element: usize, i: usize) -> Self {
        wide(words, element, i) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
    #[inline(always)]
    fn unit_above_zero(words: &Words, element: usize, i: usize) -> Self {
        (wide(words, element, i) + 1) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// 53 random bits.
#[inline(always)]
fn wide(words: &Words, element: usize, i: usize) -> i64 {
    let (low, high) = (words[2 * element][i], words[2 * element + 1][i]);
    ((u64::from(high) << 32 | u64::from(low)) >> 11) as i64
}

struct Uniform<T> {
    low: T,
    high: T,
}

impl<T: Real> Distribution for Uniform<T> {
    type Out = T;
    const PER_BLOCK: usize = T::PER_BLOCK;
    const COST: usize = 700;
    #[inline(always)]
    fn elements(&self, words: &Words) -> [[T; WIDTH]; 4] {
        let mut out = [[T::ZERO; WIDTH]; 4];
        let range = self.high - self.low;
        for e in 0..T::PER_BLOCK {
            for i in 0..WIDTH {
                let v = T::unit(words, e, i).mul_add(range, self.low);
                // Rounding may reach the end, which does not belong to the interval.
                out[e][i] = if v < self.high { v } else { self.low };
            }
        }
        out
    }
}

/// Fills `out` of `[samples, elements]` with uniform numbers of `[low, high)`.
///
/// # Errors
/// When `out` is not whole samples.
pub fn fill_uniform<T: Real>(
    stream: &Stream,
    elements: usize,
    low: T,
    high: T,
    out: &mut [T],
) -> Result<(), KernelError> {
    fill(&Uniform { low, high }, stream, elements, out)
}

struct Normal<T> {
    mean: T,
    deviation: T,
}

impl<T: Real> Distribution for Normal<T> {
    type Out = T;
    const PER_BLOCK: usize = T::PER_BLOCK;
    const COST: usize = 2000;
    #[inline(always)]
    fn elements(&self, words: &Words) -> [[T; WIDTH]; 4] {
        let mut out = [[T::ZERO; WIDTH]; 4];
        let turn = T::from_f64(std::f64::consts::TAU);
        for e in (0..T::PER_BLOCK).step_by(2) {
            for i in 0..WIDTH {
                let u = T::unit_above_zero(words, e, i);
                let radius = (-(u.ln() + u.ln())).sqrt() * self.deviation;
                let angle = T::unit(words, e + 1, i) * turn;
                out[e][i] = radius.mul_add(angle.cos(), self.mean);
                out[e + 1][i] = radius.mul_add(angle.sin(), self.mean);
            }
        }
        out
    }
}

/// Fills `out` of `[samples, elements]` with normal numbers (Box and Muller's transform).
///
/// # Errors
/// When `out` is not whole samples.
pub fn fill_normal<T: Real>(
    stream: &Stream,
    elements: usize,
    mean: T,
    deviation: T,
    out: &mut [T],
) -> Result<(), KernelError> {
    fill(&Normal { mean, deviation }, stream, elements, out)
}

struct TruncatedNormal<T> {
    mean: T,
    deviation: T,
}

impl<T: Real> Distribution for TruncatedNormal<T> {
    type Out = T;
    const PER_BLOCK: usize = T::PER_BLOCK;
    const COST: usize = 1500;
    #[inline(always)]
    fn elements(&self, words: &Words) -> [[T; WIDTH]; 4] {
        let mut out = [[T::ZERO; WIDTH]; 4];
        // Uniform on +-erf(2 / sqrt(2)), where the inverse error function gives +-2 / sqrt(2).
        let bound = T::from_f64(0.954_499_736_103_641_6);
        for e in 0..T::PER_BLOCK {
            for i in 0..WIDTH {
                let u = T::unit(words, e, i);
                let z = (u + u - T::ONE) * bound;
                let z = z.erf_inv() * T::from_f64(std::f64::consts::SQRT_2);
                out[e][i] = z.mul_add(self.deviation, self.mean);
            }
        }
        out
    }
}

/// Fills `out` of `[samples, elements]` with normal numbers at most two deviations from the mean
/// (by the inverse of the distribution function).
///
/// # Errors
/// When `out` is not whole samples.
pub fn fill_truncated_normal<T: Real>(
    stream: &Stream,
    elements: usize,
    mean: T,
    deviation: T,
    out: &mut [T],
) -> Result<(), KernelError> {
    fill(&TruncatedNormal { mean, deviation }, stream, elements, out)
}

/// A word below `threshold` (of 2^32) is a 1.
struct Bernoulli {
    threshold: u64,
}

impl Distribution for Bernoulli {
    type Out = u8;
    const PER_BLOCK: usize = 4;
    const COST: usize = 600;
    #[inline(always)]
    fn elements(&self, words: &Words) -> [[u8; WIDTH]; 4] {
        let mut out = [[0; WIDTH]; 4];
        for e in 0..4 {
            for i in 0..WIDTH {
                out[e][i] = u8::from(u64::from(words[e][i]) < self.threshold);
            }
        }
        out
    }
}

/// Fills `out` of `[samples, elements]` with 1 where an event of the given probability happens,
/// else 0: the mask of dropout, with the probability to keep.
///
/// # Errors
/// When `out` is not whole samples.
pub fn fill_bernoulli_mask(
    stream: &Stream,
    elements: usize,
    probability: f64,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let threshold = (probability.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64;
    fill(&Bernoulli { threshold }, stream, elements, out)
}

/// Integer element types of random arrays.
pub trait RandomInt: Integer + Default {
    #[doc(hidden)]
    const PER_BLOCK: usize;
    /// `low` plus a number below `range`.
    #[doc(hidden)]
    fn pick(low: Self, range: u64, words: &Words, element: usize, i: usize) -> Self;
}

impl RandomInt for i32 {
    const PER_BLOCK: usize = 4;
    #[inline(always)]
    fn pick(low: Self, range: u64, words: &Words, element: usize, i: usize) -> Self {
        low.wrapping_add(((u64::from(words[element][i]) * range) >> 32) as i32)
    }
}

impl RandomInt for i64 {
    const PER_BLOCK: usize = 2;
    #[inline(always)]
    fn pick(low: Self, range: u64, words: &Words, element: usize, i: usize) -> Self {
        let (a, b) = (words[2 * element][i], words[2 * element + 1][i]);
        let bits = u128::from(u64::from(b) << 32 | u64::from(a));
        low.wrapping_add(((bits * u128::from(range)) >> 64) as i64)
    }
}

struct UniformInt<T> {
    low: T,
    range: u64,
}

impl<T: RandomInt> Distribution for UniformInt<T> {
    type Out = T;
    const PER_BLOCK: usize = T::PER_BLOCK;
    const COST: usize = 700;
    #[inline(always)]
    fn elements(&self, words: &Words) -> [[T; WIDTH]; 4] {
        let mut out = [[T::NIL; WIDTH]; 4];
        for e in 0..T::PER_BLOCK {
            for i in 0..WIDTH {
                out[e][i] = T::pick(self.low, self.range, words, e, i);
            }
        }
        out
    }
}

/// Fills `out` of `[samples, elements]` with whole numbers of `low .. high`.
///
/// # Errors
/// When the range is empty, or `out` is not whole samples.
pub fn fill_uniform_int<T: RandomInt + Into<i64>>(
    stream: &Stream,
    elements: usize,
    low: T,
    high: T,
    out: &mut [T],
) -> Result<(), KernelError> {
    let range = high.into().wrapping_sub(low.into()) as u64;
    if high <= low {
        return Err(KernelError::Shape {
            op: "random integers",
            what: "range",
            expected: "high above low".into(),
            got: format!("{low:?}..{high:?}"),
        });
    }
    fill(&UniformInt { low, range }, stream, elements, out)
}
