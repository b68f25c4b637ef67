//! Showing values as they are computed.

use super::{Prepared, Site};
use crate::function::ArrayRef;
use crate::show;

pub(super) fn print(site: &Site<'_>, message: &str) -> Prepared {
    let value = site.input(0);
    let (dtype, shape, message) = (value.dtype, value.shape.clone(), message.to_string());
    Prepared::plain(move |args| {
        let bytes = args.input::<u8>(0);
        show::show(
            &message,
            ArrayRef {
                dtype,
                shape: &shape,
                bytes,
            },
        );
        args.output::<u8>(0).copy_from_slice(bytes);
    })
}
