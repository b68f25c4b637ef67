//! Memory that all members of a group can read, for as long as they like. Imports the group.

use std::ops::Range;
use std::sync::Arc;

use crate::buffer::Element;
use crate::error::Result;
use crate::group::Group;
use crate::shared::{Announcement, PeerSlice, RegionPiece, SharedRegion, SharedSlice};

/// What all read, and the ranges that this rank writes.
pub type Region<T> = (Arc<SharedRegion<T>>, Vec<RegionPiece<T>>);

/// A number that identifies what is shared, and the other ranks' memory by rank.
pub type Shared<T> = (u64, Vec<Option<PeerSlice<T>>>);

impl Group {
    /// Shows this rank's memory to all others, and maps theirs, which may be of other lengths. All
    /// ranks call it; one that has no memory passes nothing.
    ///
    /// Returns a random number, the same on every rank, that identifies the memory, and the other
    /// ranks' memory by rank, with nothing at this rank's place; nothing at all, on every rank, where
    /// some rank has none or cannot map another's.
    ///
    /// # Errors
    /// The group's failure.
    pub fn share<T: Element>(&self, own: Option<&SharedSlice<T>>) -> Result<Option<Shared<T>>> {
        let mut mapped: Vec<_> = (0..self.ranks()).map(|_| None).collect();
        let announced = own.and_then(SharedSlice::announcement);
        let mut first = announced.as_ref().map(Announcement::id);
        let are_all = self.introduce(announced, |rank, announced| {
            if rank == 0 {
                first = Some(announced.id());
            }
            mapped[rank] = Some(PeerSlice::map(announced)?);
            Ok(())
        })?;
        Ok(first.filter(|_| are_all).map(|id| (id, mapped)))
    }

    /// Makes one piece of memory for `length` numbers of all ranks, zero at first, of which each rank
    /// writes its `ranges`, in order, and all read everything. They begin and end at multiples of
    /// [`SharedRegion::ALIGNED`]. All ranks call it with the same arguments.
    ///
    /// Returns the whole and this rank's ranges; nothing, on every rank, where some rank has no such
    /// memory or cannot map another's.
    ///
    /// # Errors
    /// [`crate::Error::InvalidArgument`] for ranges that overlap or are not in the region; else the
    /// group's failure.
    pub fn share_region<T: Element>(
        &self,
        length: usize,
        ranges: &[Vec<Range<usize>>],
    ) -> Result<Option<Region<T>>> {
        let own = SharedSlice::zeroed(length.next_multiple_of(SharedRegion::<T>::ALIGNED));
        let own = own.and_then(SharedRegion::new);
        let own = own.inspect_err(|error| log::debug!("no region is shared: {error}"));
        let mut region = own.ok();
        let announced = region.as_ref().and_then(SharedRegion::announcement);
        let are_all = self.introduce(announced, |rank, announced| match &mut region {
            Some(region) => region.cover(announced, &ranges[rank]),
            None => Err("this rank has none".to_string()),
        })?;
        let region = region.filter(|_| are_all);
        let own = &ranges[self.rank() as usize];
        region.map(|region| region.pieces(own)).transpose()
    }

    /// Announces this rank's memory, and has that of all others mapped; returns whether all ranks
    /// have mapped all.
    fn introduce(
        &self,
        own: Option<Announcement>,
        mut map: impl FnMut(usize, &Announcement) -> Result<(), String>,
    ) -> Result<bool> {
        let mut are_all = own.is_some();
        let payload = own.map_or_else(Vec::new, |own| own.encode().to_vec());
        for (rank, payload) in self.all_gather(&payload)?.iter().enumerate() {
            if rank as u32 == self.rank() {
                continue;
            }
            let announced = Announcement::decode(payload).ok_or("it has none".to_string());
            if let Err(why) = announced.and_then(|announced| map(rank, &announced)) {
                log::debug!("the memory of rank {rank} is not shared: {why}");
                are_all = false;
            }
        }
        let every = self.all_gather(&[u8::from(are_all)])?;
        Ok(every.iter().all(|one| *one == [1]))
    }
}
