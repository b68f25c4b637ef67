//! Memory that members on the same machine read directly, so that large data makes no way through
//! sockets.
//!
//! A segment is an anonymous file of the system's memory (`memfd`), sealed so that nobody can
//! shrink it. Its owner tells a peer, over their authenticated connection, where its descriptor is;
//! the peer opens that through `/proc`, which the system allows to processes of the same user alone,
//! checks that it is the very file, and maps it for reading. Nothing has a name in any file system:
//! when the last process is gone, so is the memory, whatever killed it.
//!
//! Each segment begins with a page that only its owner writes: a random number that identifies it,
//! and a version. A frame that refers to a segment names the version at which its data is valid. An
//! owner that takes data back before its readers have confirmed raises the version first, so that
//! a reader who is late notices after reading. Imports errors and buffers.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::buffer::Element;
use crate::error::{Error, Result};

#[cfg_attr(not(target_os = "linux"), path = "shared/nowhere.rs")]
#[cfg_attr(target_os = "linux", path = "shared/linux.rs")]
mod system;

/// The bytes of a page, within which memory has one owner.
const PAGE: usize = 4096;
/// Where a segment's data begins.
const DATA: usize = PAGE;
const NONCE_LEN: usize = 16;
/// The bytes of an [`Announcement`] on the wire.
pub(crate) const ANNOUNCEMENT_LEN: usize = 60;

/// Mapped memory.
#[derive(Debug)]
struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is plain memory that belongs to no thread; who may touch it when is said at each use.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn version(&self) -> &AtomicU32 {
        // SAFETY: every map has at least a page, and this place in it is aligned and only ever used
        // as an atomic number.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(NONCE_LEN).cast()) }
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        // SAFETY: every map begins with these bytes, which nobody writes once others know of it.
        unsafe { self.start.as_ptr().cast::<[u8; NONCE_LEN]>().read() }
    }
}

/// A segment of this process.
#[derive(Debug)]
pub(crate) struct Segment {
    map: Map,
    file: system::File,
    /// Its name in frames, from 1 on; used again once the segment is gone.
    pub(crate) number: u16,
}

impl Segment {
    /// The version that frames sent now refer to.
    pub(crate) fn version(&self) -> u32 {
        self.map.version().load(Ordering::Relaxed)
    }

    /// Takes everything back that frames referred to.
    fn revoke(&self) {
        self.map.version().fetch_add(1, Ordering::SeqCst);
        // What the owner writes next must not be seen before the new version.
        fence(Ordering::SeqCst);
    }

    /// What a peer needs to know to map it.
    pub(crate) fn announcement(&self) -> Option<Announcement> {
        let host = system::host()?;
        Some(Announcement {
            number: self.number,
            process: std::process::id(),
            file: self.file.number(),
            length: self.map.length as u64,
            namespace: host.namespace,
            boot: host.boot,
            nonce: self.map.nonce(),
        })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        system::forget_dead();
    }
}

/// How a peer finds a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) number: u16,
    process: u32,
    file: u32,
    length: u64,
    /// The space in which the process' number means something.
    namespace: u64,
    /// Identifies the running system.
    boot: [u8; 16],
    nonce: [u8; NONCE_LEN],
}

impl Announcement {
    pub(crate) fn encode(&self) -> [u8; ANNOUNCEMENT_LEN] {
        let mut bytes = [0; ANNOUNCEMENT_LEN];
        bytes[..2].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.process.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.file.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.length.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.namespace.to_le_bytes());
        bytes[28..44].copy_from_slice(&self.boot);
        bytes[44..60].copy_from_slice(&self.nonce);
        bytes
    }

    /// A random number that identifies the segment.
    pub(crate) fn id(&self) -> u64 {
        let [id, _] = self.nonce.as_chunks().0 else {
            return 0;
        };
        u64::from_le_bytes(*id)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ANNOUNCEMENT_LEN] = bytes.try_into().ok()?;
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes[at..at + 4].try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        Some(Announcement {
            number: u16::from_le_bytes(bytes[..2].try_into().ok()?),
            process: u32_at(4)?,
            file: u32_at(8)?,
            length: u64_at(12)?,
            namespace: u64_at(20)?,
            boot: bytes[28..44].try_into().ok()?,
            nonce: bytes[44..60].try_into().ok()?,
        })
    }

    /// Maps the segment that a peer has announced, or says why that cannot be.
    pub(crate) fn map(&self) -> Result<Mapping, String> {
        self.open().map(|(_, mapping)| mapping)
    }

    /// The same with the segment's file.
    fn open(&self) -> Result<(system::Opened, Mapping), String> {
        let host = system::host().ok_or("this system has no shared memory")?;
        if (self.boot, self.namespace) != (host.boot, host.namespace) {
            return Err("it belongs to another machine or container".into());
        }
        let length = usize::try_from(self.length).unwrap_or(0);
        if length < DATA {
            return Err(format!("it has only {length} bytes"));
        }
        let file = system::open(self.process, self.file, length)?;
        let map = file.map(length)?;
        if map.nonce() != self.nonce {
            return Err("it is not the memory that was announced".into());
        }
        Ok((file, Mapping(map)))
    }
}

/// A peer's segment, mapped for reading.
#[derive(Debug)]
pub(crate) struct Mapping(Map);

/// A part of a peer's segment that a frame refers to.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    mapping: Arc<Mapping>,
    range: Range<usize>,
    version: u32,
}

impl Remote {
    /// `length` bytes from the word `offset` of the data on, if the segment has them.
    pub(crate) fn new(
        mapping: &Arc<Mapping>,
        offset: u32,
        length: usize,
        version: u32,
    ) -> Option<Self> {
        let start = DATA + offset as usize * 4;
        let range = start..start.checked_add(length)?;
        (range.end <= mapping.0.length).then(|| Remote {
            mapping: Arc::clone(mapping),
            range,
            version,
        })
    }

    /// Whether numbers of so many bytes can be read there.
    pub(crate) fn is_aligned(&self, size: usize) -> bool {
        self.range.start.is_multiple_of(size)
    }

    /// The data. Only if [`Self::is_valid`] afterwards was it what the frame referred to.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the range lies within the mapping, which lives as long as `self`; the file cannot
        // shrink. The owner leaves the data alone until this rank has confirmed; one that does not
        // (its generation has failed) may race with this read, whose outcome, numbers of which any
        // bits are valid, `is_valid` then discards.
        unsafe {
            std::slice::from_raw_parts(
                self.mapping.0.start.as_ptr().add(self.range.start),
                self.range.len(),
            )
        }
    }

    /// Whether everything read so far was what the frame referred to.
    pub(crate) fn is_valid(&self) -> bool {
        fence(Ordering::Acquire);
        self.mapping.0.version().load(Ordering::SeqCst) == self.version
    }
}

/// Where bytes lie in a segment of this process: the segment, and the word of its data.
pub(crate) fn locate(bytes: &[u8]) -> Option<(Arc<Segment>, u32)> {
    let start = bytes.as_ptr() as usize;
    let segment = system::find(|segment| {
        let first = segment.map.start.as_ptr() as usize;
        (first + DATA..first + segment.map.length).contains(&start)
    })?;
    let offset = start - segment.map.start.as_ptr() as usize - DATA;
    let is_whole = offset.is_multiple_of(4) && DATA + offset + bytes.len() <= segment.map.length;
    let word = u32::try_from(offset / 4).ok()?;
    is_whole.then_some((segment, word))
}

/// Takes back whatever frames referred to in the segment where `bytes` lies.
pub(crate) fn revoke(bytes: &[u8]) {
    if let Some((segment, _)) = locate(bytes) {
        segment.revoke();
    }
}

/// Numbers in memory that members on this machine read directly: an all-reduce of large data in it
/// is several times as fast as of data elsewhere. 64-byte aligned, zero at first.
///
/// ```
/// # if !cfg!(target_os = "linux") { return }
/// let mut values = hornbeam_collective::SharedSlice::<f32>::zeroed(1000).unwrap();
/// values[3] = 1.5;
/// assert_eq!(values[..5], [0.0, 0.0, 0.0, 1.5, 0.0]);
/// ```
#[derive(Debug)]
pub struct SharedSlice<T> {
    segment: Arc<Segment>,
    data: NonNull<T>,
    length: usize,
}

// SAFETY: it owns its numbers, as a vector does; readers in other processes are kept apart from its
// writers by the protocol.
unsafe impl<T: Send> Send for SharedSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for SharedSlice<T> {}

impl<T: Element> SharedSlice<T> {
    /// Memory for `length` numbers.
    ///
    /// # Errors
    /// [`Error::Io`] where the system has no such memory (it is Linux's) or none is left.
    pub fn zeroed(length: usize) -> Result<Self> {
        let segment = system::create(DATA + length * size_of::<T>())
            .map_err(|error| Error::io("taking shared memory", error))?;
        // SAFETY: the segment has so many bytes behind its first page.
        let data = unsafe { segment.map.start.add(DATA).cast() };
        Ok(SharedSlice {
            segment,
            data,
            length,
        })
    }
}

impl<T: Element> Deref for SharedSlice<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the segment has so many numbers there, zeros at first, and lives as long.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.length) }
    }
}

impl<T: Element> DerefMut for SharedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably. Other processes only read, and only
        // while an operation borrows the slice.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.length) }
    }
}

impl<T> SharedSlice<T> {
    /// What a peer needs to know to map it; none where peers cannot.
    pub(crate) fn announcement(&self) -> Option<Announcement> {
        self.segment.announcement()
    }
}

/// Another member's [`SharedSlice`], which its owner alone writes (see [`crate::Group::share`]). The
/// memory outlives its owner.
#[derive(Debug)]
pub struct PeerSlice<T> {
    mapping: Mapping,
    length: usize,
    element: PhantomData<T>,
}

impl<T: Element> PeerSlice<T> {
    /// Maps what a peer has announced, or says why that cannot be.
    pub(crate) fn map(announced: &Announcement) -> Result<Self, String> {
        let mapping = announced.map()?;
        Ok(PeerSlice {
            length: (mapping.0.length - DATA) / size_of::<T>(),
            mapping,
            element: PhantomData,
        })
    }

    /// The number of numbers.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Some of the numbers.
    ///
    /// # Safety
    /// The owner must not write them as long as the result lives: members say to each other, by
    /// collective operations, what is written and read when.
    ///
    /// # Panics
    /// When there are not so many.
    pub unsafe fn get(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: the mapping has that many numbers behind its first page, aligned by it, any bits
        // of which are valid, and lives as long as `self`; nobody writes them, as the caller says.
        unsafe {
            let first = self.mapping.0.start.as_ptr().add(DATA).cast::<T>();
            std::slice::from_raw_parts(first.add(range.start), range.len())
        }
    }
}

/// One piece of memory for all members of a group, of which each writes ranges of its own and all read
/// everything (see [`crate::Group::share_region`]). It outlives the members.
#[derive(Debug)]
pub struct SharedRegion<T> {
    /// For reading, with the other members' ranges in their places.
    whole: Map,
    /// Where this member's ranges are written; the rest of it takes no memory.
    own: SharedSlice<T>,
}

impl<T: Element> SharedRegion<T> {
    /// Ranges of a region begin and end at multiples of so many numbers.
    pub const ALIGNED: usize = PAGE / size_of::<T>();

    /// A region of which all is this member's so far.
    pub(crate) fn new(own: SharedSlice<T>) -> Result<Self> {
        let whole = own.segment.file.map(own.segment.map.length);
        let whole = whole.map_err(|error| Error::io("mapping shared memory", error))?;
        Ok(SharedRegion { whole, own })
    }

    /// What a peer needs to know to map it; none where peers cannot.
    pub(crate) fn announcement(&self) -> Option<Announcement> {
        self.own.announcement()
    }

    /// Puts a peer's ranges in their places, or says why that cannot be.
    pub(crate) fn cover(
        &mut self,
        announced: &Announcement,
        ranges: &[Range<usize>],
    ) -> Result<(), String> {
        let (file, peer) = announced.open()?;
        if peer.0.length != self.whole.length {
            let (has, needs) = (peer.0.length, self.whole.length);
            return Err(format!("it has {has} bytes instead of {needs}"));
        }
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            let part = DATA + range.start * size_of::<T>()..DATA + range.end * size_of::<T>();
            let covered = self.whole.cover(&file, &part);
            covered.map_err(|error| format!("mapping a part of it failed: {error}"))?;
        }
        Ok(())
    }

    /// Some of the numbers, for reading.
    ///
    /// # Safety
    /// Nobody may write them as long as the result lives: members say to each other, by collective
    /// operations, what is written and read when.
    ///
    /// # Panics
    /// When there are not so many.
    pub unsafe fn get(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.own.length);
        // SAFETY: the mapping has that many numbers behind its first page, aligned by it, any bits
        // of which are valid, and lives as long as `self`; nobody writes them, as the caller says.
        unsafe {
            let first = self.whole.start.as_ptr().add(DATA).cast::<T>();
            std::slice::from_raw_parts(first.add(range.start), range.len())
        }
    }

    /// The ranges that this member writes, which come one behind the other.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if they do not, or not all are in the region.
    pub(crate) fn pieces(
        self,
        ranges: &[Range<usize>],
    ) -> Result<(Arc<Self>, Vec<RegionPiece<T>>)> {
        let mut at = 0;
        for range in ranges {
            if range.start < at || range.end < range.start || range.end > self.own.length {
                return Err(Error::InvalidArgument(format!(
                    "{range:?} overlaps another range or the end of a region of {} numbers",
                    self.own.length
                )));
            }
            at = range.end;
        }
        let region = Arc::new(self);
        let piece = |range: &Range<usize>| RegionPiece {
            region: Arc::clone(&region),
            range: range.clone(),
        };
        let pieces = ranges.iter().map(piece).collect();
        Ok((region, pieces))
    }
}

/// A range of a [`SharedRegion`] that this member writes.
#[derive(Debug)]
pub struct RegionPiece<T> {
    region: Arc<SharedRegion<T>>,
    range: Range<usize>,
}

impl<T> RegionPiece<T> {
    fn first(&self) -> NonNull<T> {
        // SAFETY: the region has the range, as `pieces` checked.
        unsafe { self.region.own.data.add(self.range.start) }
    }
}

impl<T: Element> Deref for RegionPiece<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the numbers are there as long as the region, any bits are valid, and only pieces
        // write, which do not overlap.
        unsafe { std::slice::from_raw_parts(self.first().as_ptr(), self.range.len()) }
    }
}

impl<T: Element> DerefMut for RegionPiece<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably. Others read when they are told.
        unsafe { std::slice::from_raw_parts_mut(self.first().as_ptr(), self.range.len()) }
    }
}

impl<T> Drop for SharedSlice<T> {
    fn drop(&mut self) {
        // A segment that nobody can write any more may still be read, to no effect.
        self.segment.revoke();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn mapped(values: &SharedSlice<f32>) -> Arc<Mapping> {
        Arc::new(values.segment.announcement().unwrap().map().unwrap())
    }

    #[test]
    fn a_reader_sees_what_the_owner_writes() {
        let mut values = SharedSlice::<f32>::zeroed(100_000).unwrap();
        assert!(values.iter().all(|x| *x == 0.0) && values.as_ptr().addr().is_multiple_of(64));
        let mapping = mapped(&values);
        values[70_000..70_002].copy_from_slice(&[1.5, -2.0]);
        let (segment, offset) = locate(bytemuck::cast_slice(&values[70_000..70_002])).unwrap();
        assert_eq!((segment.number, offset), (values.segment.number, 70_000));
        let remote = Remote::new(&mapping, offset, 8, segment.version()).unwrap();
        assert_eq!(remote.bytes(), bytemuck::bytes_of(&[1.5f32, -2.0]));
        assert!(remote.is_valid());
        values[70_000] = 3.0;
        assert_eq!(remote.bytes()[..4], 3.0f32.to_ne_bytes());
        revoke(bytemuck::cast_slice(&values));
        assert!(!remote.is_valid());
        // The memory outlives its owner as long as it is read.
        drop((values, segment));
        assert_eq!(remote.bytes()[4..], (-2.0f32).to_ne_bytes());
        assert!(!remote.is_valid());
    }

    #[test]
    fn references_beyond_the_end_are_refused() {
        let values = SharedSlice::<f32>::zeroed(10).unwrap();
        let mapping = mapped(&values);
        assert!(Remote::new(&mapping, 0, 40, 0).is_some());
        assert!(Remote::new(&mapping, 1, 40, 0).is_none());
        assert!(Remote::new(&mapping, u32::MAX, 40, 0).is_none());
        assert!(Remote::new(&mapping, 2, usize::MAX - 4, 0).is_none());
    }

    #[test]
    fn other_memory_is_in_no_segment() {
        let values = SharedSlice::<f64>::zeroed(10).unwrap();
        assert!(locate(bytemuck::cast_slice(&values)).is_some());
        assert!(locate(bytemuck::cast_slice(&[1.0f64; 10])).is_none());
        drop(values);
        assert!(locate(&[0; 100]).is_none());
    }

    #[test]
    fn announcements_survive_the_wire_and_false_ones_are_refused() {
        let values = SharedSlice::<f32>::zeroed(2000).unwrap();
        let announced = values.segment.announcement().unwrap();
        assert_eq!(Announcement::decode(&announced.encode()), Some(announced));
        assert_eq!(Announcement::decode(&announced.encode()[1..]), None);
        type Case = (fn(&mut Announcement), &'static str);
        let cases: [Case; 8] = [
            (|a| a.boot[0] ^= 1, "another machine"),
            (|a| a.namespace += 1, "another machine"),
            (|a| a.nonce[0] ^= 1, "not the memory"),
            (|a| a.length += 4096, "bytes"),
            (|a| a.length = 100, "bytes"),
            (|a| a.file = 0, "descriptor"),
            (|a| a.file = u32::MAX, "descriptor"),
            (|a| a.process = u32::MAX, "descriptor"),
        ];
        for (spoil, message) in cases {
            let mut spoiled = announced;
            spoil(&mut spoiled);
            let error = spoiled.map().unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn numbers_are_used_again() {
        let first = SharedSlice::<f32>::zeroed(1).unwrap();
        let second = SharedSlice::<f32>::zeroed(1).unwrap();
        assert_ne!(first.segment.number, second.segment.number);
        assert!(first.segment.number > 0 && second.segment.number > 0);
        for _ in 0..70_000 / 100 {
            let many: Vec<_> = (0..100).map(|_| SharedSlice::<f32>::zeroed(1)).collect();
            assert!(many.iter().all(Result::is_ok));
        }
    }
}
