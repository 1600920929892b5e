// SPDX-License-Identifier: GPL-2.0

//! Parts of a scatterlist.

use kapi::sg::{Segment, SgList};

/// The pieces of `len` bytes of `sg` from `from` on, or of what there is.
#[inline]
pub(crate) fn pieces<'a>(
    sg: &'a SgList<'_>,
    from: usize,
    len: usize,
) -> impl Iterator<Item = Segment> + 'a {
    let mut skip = from;
    let mut left = len;
    sg.segments().filter_map(move |piece| {
        let whole = piece.len as usize;
        let cut = skip.min(whole);
        skip -= cut;
        // At most `whole`, which is 32 bits.
        let take = (whole - cut).min(left);
        left -= take;
        (take != 0).then_some(Segment {
            page: piece.page,
            offset: piece.offset.wrapping_add(cut as u32),
            len: take as u32,
        })
    })
}
