//! Convolutions: one, two and three spatial axes, groups of channels.
//!
//! The kernels know two axes without groups, and depthwise ones. Three axes are a sum over the
//! depth of the kernel of two-dimensional convolutions of whole batches, for which depth is brought
//! to the front; groups in between are convolved one after the other from copies.

use hornbeam_graph::op::{ConvAttrs, Epilogue};
use hornbeam_graph::ops::conv::extent;
use hornbeam_kernels::conv::{
    Conv2d, DepthwiseConv2d, conv2d, conv2d_grad_filter, conv2d_grad_filter_scratch_len,
    conv2d_grad_input, conv2d_grad_input_scratch_len, conv2d_scratch_len, depthwise_conv2d,
    depthwise_conv2d_grad_filter, depthwise_conv2d_grad_filter_scratch_len,
    depthwise_conv2d_grad_input, depthwise_conv2d_grad_input_scratch_len,
};
use hornbeam_kernels::copy::strided_copy;
use hornbeam_kernels::dtype::Float;
use hornbeam_kernels::gemm::{Act, Epilogue as KernelEpilogue};

use super::linalg::{activation, epilogue_of, windows};
use super::{Args, Prepared, Site};
use crate::error::Result;

/// The geometry of a convolution: a plane for each step of depth.
#[derive(Clone, Copy)]
struct Geometry {
    /// The two inner axes, with the channels of one group.
    plane: Conv2d,
    groups: usize,
    depth: usize,
    kernel_depth: usize,
    out_depth: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

/// Which of the three computations.
#[derive(Clone, Copy)]
enum Which {
    Forward,
    GradInput,
    GradFilter,
}

fn geometry(
    site: &Site<'_>,
    attrs: &ConvAttrs,
    x: &[usize],
    w: &[usize],
    y: &[usize],
) -> Result<Geometry> {
    let spatial = x.len() - 2;
    let lead = 3 - spatial;
    let three = |list: &[usize]| {
        let mut all = [1; 3];
        all[lead..].copy_from_slice(list);
        all
    };
    let mut before = [0; 3];
    for axis in 0..spatial {
        let reach = extent(w[axis], attrs.dilation[axis]);
        let windows = windows(
            site,
            &attrs.padding,
            axis,
            x[axis + 1],
            reach,
            attrs.strides[axis],
        )?;
        before[lead + axis] = windows.before;
    }
    let (xs, ws, ys) = (
        three(&x[1..=spatial]),
        three(&w[..spatial]),
        three(&y[1..=spatial]),
    );
    let (strides, dilation) = (three(&attrs.strides), three(&attrs.dilation));
    let groups = attrs.groups;
    Ok(Geometry {
        plane: Conv2d {
            n: x[0],
            h: xs[1],
            w: xs[2],
            ci: x[spatial + 1] / groups,
            kh: ws[1],
            kw: ws[2],
            co: y[spatial + 1] / groups,
            sh: strides[1],
            sw: strides[2],
            dh: dilation[1],
            dw: dilation[2],
            pad_top: before[1],
            pad_left: before[2],
            oh: ys[1],
            ow: ys[2],
        },
        groups,
        depth: xs[0],
        kernel_depth: ws[0],
        out_depth: ys[0],
        stride: strides[0],
        dilation: dilation[0],
        before: before[0],
    })
}

impl Geometry {
    fn is_plane(&self) -> bool {
        (self.depth, self.kernel_depth, self.out_depth) == (1, 1, 1) && self.before == 0
    }

    /// The depthwise kernels' geometry, where they apply.
    fn depthwise(&self) -> Option<DepthwiseConv2d> {
        let p = &self.plane;
        (self.groups > 1 && p.ci == 1 && self.is_plane()).then_some(DepthwiseConv2d {
            n: p.n,
            h: p.h,
            w: p.w,
            c: self.groups,
            multiplier: p.co,
            kh: p.kh,
            kw: p.kw,
            sh: p.sh,
            sw: p.sw,
            dh: p.dh,
            dw: p.dw,
            pad_top: p.pad_top,
            pad_left: p.pad_left,
            oh: p.oh,
            ow: p.ow,
        })
    }

    /// Elements of a group's input, kernel and output.
    fn sizes(&self) -> [usize; 3] {
        let p = &self.plane;
        let (x, w, y) = (p.x_len(), p.w_len(), p.y_len());
        [x * self.depth, w * self.kernel_depth, y * self.out_depth]
    }

    /// The pairs of a step of the output's and the kernel's depth, with the input's, that lie
    /// within the input.
    fn pairs(&self) -> Vec<(usize, usize, usize)> {
        let mut all = Vec::new();
        for o in 0..self.out_depth {
            for k in 0..self.kernel_depth {
                let at = (o * self.stride + k * self.dilation).checked_sub(self.before);
                all.extend(at.filter(|&i| i < self.depth).map(|i| (o, k, i)));
            }
        }
        all
    }

    fn plane_scratch<T: Float>(&self, which: Which) -> usize {
        match which {
            Which::Forward => conv2d_scratch_len::<T>(&self.plane),
            Which::GradInput => conv2d_grad_input_scratch_len::<T>(&self.plane),
            Which::GradFilter => conv2d_grad_filter_scratch_len::<T>(&self.plane),
        }
    }

    fn volume_scratch<T: Float>(&self, which: Which) -> usize {
        let own = self.plane_scratch::<T>(which);
        if self.is_plane() {
            return own;
        }
        let [x, _, y] = self.sizes();
        let part = match which {
            Which::Forward => 0,
            Which::GradInput => self.plane.x_len(),
            Which::GradFilter => self.plane.w_len(),
        };
        own + x + y + part
    }

    fn scratch<T: Float>(&self, which: Which) -> usize {
        if let Some(g) = self.depthwise() {
            return match which {
                Which::Forward => 0,
                Which::GradInput => depthwise_conv2d_grad_input_scratch_len::<T>(&g),
                Which::GradFilter => depthwise_conv2d_grad_filter_scratch_len::<T>(&g),
            };
        }
        let copies = if self.groups > 1 {
            self.sizes().iter().sum()
        } else {
            0
        };
        copies + self.volume_scratch::<T>(which)
    }
}

/// Copies `from` of `[a, b, c]` to `to` of `[b, a, c]`.
fn swap<T: Float>(from: &[T], a: usize, b: usize, to: &mut [T]) {
    let c = from.len() / (a * b).max(1);
    assert_eq!(
        (from.len(), to.len()),
        (a * b * c, a * b * c),
        "lengths of a swap"
    );
    if c == 0 || from.is_empty() {
        return;
    }
    let strides = [c as isize, (b * c) as isize, 1];
    let out = [(a * c) as isize, c as isize, 1];
    // SAFETY: both slices hold a * b * c elements, which is what the strides reach.
    unsafe {
        let (from, to) = (from.as_ptr().cast(), to.as_mut_ptr().cast());
        strided_copy(size_of::<T>(), &[b, a, c], from, &strides, to, &out);
    }
}

/// Which channels of rows of `all` a group's copy has.
fn channels<T: Float>(all: &[T], group: usize, own: usize, count: usize, copy: &mut [T]) {
    for (row, out) in all
        .chunks_exact(own * count)
        .zip(copy.chunks_exact_mut(own))
    {
        out.copy_from_slice(&row[group * own..(group + 1) * own]);
    }
}

fn put_channels<T: Float>(copy: &[T], group: usize, own: usize, count: usize, all: &mut [T]) {
    for (row, part) in all
        .chunks_exact_mut(own * count)
        .zip(copy.chunks_exact(own))
    {
        row[group * own..(group + 1) * own].copy_from_slice(part);
    }
}

fn volume_forward<T: Float>(
    g: &Geometry,
    x: &[T],
    w: &[T],
    y: &mut [T],
    ep: &KernelEpilogue<'_, T>,
    scratch: &mut [T],
) {
    if g.is_plane() {
        return conv2d(&g.plane, x, w, y, ep, scratch);
    }
    let (xn, wn, yn) = (g.plane.x_len(), g.plane.w_len(), g.plane.y_len());
    let (xs, rest) = scratch.split_at_mut(x.len());
    let (ys, rest) = rest.split_at_mut(y.len());
    swap(x, g.plane.n, g.depth, xs);
    let pairs = g.pairs();
    for o in 0..g.out_depth {
        let own: Vec<_> = pairs.iter().filter(|p| p.0 == o).collect();
        let out = &mut ys[o * yn..(o + 1) * yn];
        if own.is_empty() {
            for (i, v) in out.iter_mut().enumerate() {
                *v = ep.act.apply(ep.bias.map_or(T::ZERO, |b| b[i % g.plane.co]));
            }
        }
        for (i, &&(_, k, at)) in own.iter().enumerate() {
            let last = i + 1 == own.len();
            let step = KernelEpilogue {
                bias: if last { ep.bias } else { None },
                act: if last { ep.act } else { Act::None },
                accumulate: i > 0,
            };
            let (x, w) = (&xs[at * xn..(at + 1) * xn], &w[k * wn..(k + 1) * wn]);
            conv2d(&g.plane, x, w, out, &step, rest);
        }
    }
    swap(ys, g.out_depth, g.plane.n, y);
}

fn add<T: Float>(part: &[T], sum: &mut [T]) {
    sum.iter_mut().zip(part).for_each(|(s, &p)| *s += p);
}

fn volume_grad_input<T: Float>(g: &Geometry, dy: &[T], w: &[T], dx: &mut [T], scratch: &mut [T]) {
    if g.is_plane() {
        return conv2d_grad_input(&g.plane, dy, w, dx, scratch);
    }
    let (xn, wn, yn) = (g.plane.x_len(), g.plane.w_len(), g.plane.y_len());
    let (dxs, rest) = scratch.split_at_mut(dx.len());
    let (dys, rest) = rest.split_at_mut(dy.len());
    let (part, rest) = rest.split_at_mut(xn);
    swap(dy, g.plane.n, g.out_depth, dys);
    dxs.fill(T::ZERO);
    for (o, k, at) in g.pairs() {
        let (dy, w) = (&dys[o * yn..(o + 1) * yn], &w[k * wn..(k + 1) * wn]);
        conv2d_grad_input(&g.plane, dy, w, part, rest);
        add(part, &mut dxs[at * xn..(at + 1) * xn]);
    }
    swap(dxs, g.depth, g.plane.n, dx);
}

fn volume_grad_filter<T: Float>(g: &Geometry, x: &[T], dy: &[T], dw: &mut [T], scratch: &mut [T]) {
    if g.is_plane() {
        return conv2d_grad_filter(&g.plane, x, dy, dw, scratch);
    }
    let (xn, wn, yn) = (g.plane.x_len(), g.plane.w_len(), g.plane.y_len());
    let (xs, rest) = scratch.split_at_mut(x.len());
    let (dys, rest) = rest.split_at_mut(dy.len());
    let (part, rest) = rest.split_at_mut(wn);
    swap(x, g.plane.n, g.depth, xs);
    swap(dy, g.plane.n, g.out_depth, dys);
    dw.fill(T::ZERO);
    for (o, k, at) in g.pairs() {
        let (x, dy) = (&xs[at * xn..(at + 1) * xn], &dys[o * yn..(o + 1) * yn]);
        conv2d_grad_filter(&g.plane, x, dy, part, rest);
        add(part, &mut dw[k * wn..(k + 1) * wn]);
    }
}

/// Runs a computation for each group of channels on copies of its parts.
fn run<T: Float>(g: &Geometry, which: Which, args: &Args<'_>, bias: bool, act: Act) {
    let ep = epilogue_of::<T>(args, bias, act);
    let (a, b, out) = (args.input::<T>(0), args.input::<T>(1), args.output::<T>(0));
    let scratch = args.scratch::<T>();
    if let Some(g) = g.depthwise() {
        return match which {
            Which::Forward => depthwise_conv2d(&g, a, b, out, &ep),
            Which::GradInput => depthwise_conv2d_grad_input(&g, a, b, out, scratch),
            Which::GradFilter => depthwise_conv2d_grad_filter(&g, a, b, out, scratch),
        };
    }
    if g.groups == 1 {
        return volume(g, which, a, b, out, &ep, scratch);
    }
    let [x, w, y] = g.sizes();
    let (ci, co) = (g.plane.ci, g.plane.co);
    // Lengths and channels of operands and result. A kernel's groups are cuts of its last axis.
    let ((an, ac), (bn, bc), (on, oc)) = match which {
        Which::Forward => ((x, ci), (w, co), (y, co)),
        Which::GradInput => ((y, co), (w, co), (x, ci)),
        Which::GradFilter => ((x, ci), (y, co), (w, co)),
    };
    let (acopy, rest) = scratch.split_at_mut(an);
    let (bcopy, rest) = rest.split_at_mut(bn);
    let (ocopy, rest) = rest.split_at_mut(on);
    for group in 0..g.groups {
        channels(a, group, ac, g.groups, acopy);
        channels(b, group, bc, g.groups, bcopy);
        let own = KernelEpilogue {
            bias: ep.bias.map(|b| &b[group * co..(group + 1) * co]),
            act: ep.act,
            accumulate: false,
        };
        volume(g, which, acopy, bcopy, ocopy, &own, rest);
        put_channels(ocopy, group, oc, g.groups, out);
    }
}

fn volume<T: Float>(
    g: &Geometry,
    which: Which,
    a: &[T],
    b: &[T],
    out: &mut [T],
    ep: &KernelEpilogue<'_, T>,
    scratch: &mut [T],
) {
    match which {
        Which::Forward => volume_forward(g, a, b, out, ep, scratch),
        Which::GradInput => volume_grad_input(g, a, b, out, scratch),
        Which::GradFilter => volume_grad_filter(g, a, b, out, scratch),
    }
}

fn prepare(site: &Site<'_>, g: Geometry, which: Which, epilogue: Epilogue) -> Result<Prepared> {
    type Run = fn(&Geometry, Which, &Args<'_>, bool, Act);
    let dtype = site.output(0).dtype;
    let kernel = site.float(dtype, run::<f32> as Run, run::<f64>)?;
    let scratch = site.float(dtype, g.scratch::<f32>(which), g.scratch::<f64>(which))?;
    let (bias, act) = (epilogue.bias, activation(epilogue));
    let mut prepared = Prepared::plain(move |args| kernel(&g, which, args, bias, act));
    prepared.needs.scratch = scratch * dtype.size();
    Ok(prepared)
}

pub(super) fn conv(site: &Site<'_>, attrs: &ConvAttrs, epilogue: Epilogue) -> Result<Prepared> {
    let (x, w, y) = (site.input(0), site.input(1), site.output(0));
    let g = geometry(site, attrs, &x.shape, &w.shape, &y.shape)?;
    prepare(site, g, Which::Forward, epilogue)
}

pub(super) fn conv_grad_input(site: &Site<'_>, attrs: &ConvAttrs) -> Result<Prepared> {
    let (dy, w, dx) = (site.input(0), site.input(1), site.output(0));
    let g = geometry(site, attrs, &dx.shape, &w.shape, &dy.shape)?;
    prepare(site, g, Which::GradInput, Epilogue::default())
}

pub(super) fn conv_grad_filter(site: &Site<'_>, attrs: &ConvAttrs) -> Result<Prepared> {
    let (x, dy, dw) = (site.input(0), site.input(1), site.output(0));
    let g = geometry(site, attrs, &x.shape, &dw.shape, &dy.shape)?;
    prepare(site, g, Which::GradFilter, Epilogue::default())
}
