//! Decoding of connectionist temporal classifiers.

use hornbeam_graph::DType;
use hornbeam_kernels::ctc::{self, BeamSearch};

use super::{Args, Kernel, Prepared, Site};
use crate::error::Result;
use crate::memory::Needs;

type Run = fn(BeamSearch, &Args<'_>, &mut [f64]) -> std::result::Result<(), String>;

fn search<T: Copy + Into<f64> + Send + Sync>(
    s: BeamSearch,
    args: &Args<'_>,
    scores: &mut [f64],
) -> std::result::Result<(), String> {
    let lengths = args.input::<i64>(1);
    ctc::beam_search(s, args.input::<T>(0), lengths, args.output(0), scores)
        .map_err(|e| format!("a length is none of this number of steps: {e}"))
}

pub(super) fn beam_search(
    site: &Site<'_>,
    beam_width: usize,
    top_paths: usize,
) -> Result<Prepared> {
    let x = site.input(0);
    let s = BeamSearch {
        samples: x.shape[0],
        steps: x.shape[1],
        classes: x.shape[2],
        beam_width,
        top_paths,
    };
    let run = site.float(x.dtype, search::<f32> as Run, search::<f64>)?;
    let single = x.dtype == DType::F32;
    let scores = s.samples * top_paths;
    let kernel: Kernel = Box::new(move |args| {
        if !single {
            return run(s, args, args.output(1));
        }
        let wide = &mut args.scratch::<f64>()[..scores];
        run(s, args, wide)?;
        for (to, from) in args.output::<f32>(1).iter_mut().zip(wide) {
            *to = *from as f32;
        }
        Ok(())
    });
    Ok(Prepared {
        kernel,
        needs: Needs {
            scratch: if single { scores * size_of::<f64>() } else { 0 },
            fallible: true,
            ..Needs::default()
        },
    })
}
