//! Shared memory by Linux's means: `memfd`, seals, `/proc`.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use super::{Map, Segment};
use crate::wake::lock;

/// What the files are called where the system shows a process' descriptors.
const NAME: &str = "hornbeam";

/// A segment's open file.
#[derive(Debug)]
pub(super) struct File(OwnedFd);

impl File {
    pub(super) fn number(&self) -> u32 {
        self.0.as_raw_fd().unsigned_abs()
    }

    /// The whole file once more, for reading.
    pub(super) fn map(&self, length: usize) -> io::Result<Map> {
        Map::new(&self.0, length, ProtFlags::READ)
    }
}

/// What tells this system from others.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) boot: [u8; 16],
    pub(super) namespace: u64,
}

/// This system; none if it does not say who it is.
pub(super) fn host() -> Option<&'static Host> {
    static HOST: OnceLock<Option<Host>> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits = text.trim().replace('-', "");
        let boot = u128::from_str_radix(&digits, 16).ok()?.to_le_bytes();
        let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
        Some(Host { boot, namespace })
    };
    HOST.get_or_init(read).as_ref()
}

impl Map {
    fn new(file: &OwnedFd, length: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a new place for the mapping is asked for, so no memory in use is touched.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Map { start, length })
    }

    /// Lays a part of another file, of as many bytes, over the same part of this mapping, for
    /// reading. Both ends are multiples of [`super::PAGE`].
    pub(super) fn cover(&mut self, file: &Opened, part: &Range<usize>) -> io::Result<()> {
        if rustix::param::page_size() != super::PAGE {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let is_page = |at: usize| at.is_multiple_of(super::PAGE);
        if !is_page(part.start) || !is_page(part.end) || part.end > self.length {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the place is a part of this mapping, which nobody uses yet since it is borrowed
        // mutably; unmapping the whole unmaps it too.
        let at = unsafe {
            rustix::mm::mmap(
                self.start.as_ptr().add(part.start).cast(),
                part.len(),
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::FIXED,
                &file.0,
                part.start as u64,
            )?
        };
        debug_assert_eq!(at.addr(), self.start.as_ptr().addr() + part.start);
        Ok(())
    }
}

/// Another process' file.
pub(super) struct Opened(OwnedFd);

impl Opened {
    /// The whole file, for reading.
    pub(super) fn map(&self, length: usize) -> Result<Map, String> {
        Map::new(&self.0, length, ProtFlags::READ)
            .map_err(|error| format!("mapping it failed: {error}"))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever refers to it keeps it alive.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// This process' segments, each at the place that its number names.
static SEGMENTS: Mutex<Vec<Weak<Segment>>> = Mutex::new(Vec::new());

/// A new segment of so many bytes.
pub(super) fn create(length: usize) -> io::Result<Arc<Segment>> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(NAME, flags)?;
    rustix::fs::ftruncate(&file, length as u64)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    let map = Map::new(&file, length, ProtFlags::READ | ProtFlags::WRITE)?;
    let mut nonce = [0; super::NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    // SAFETY: the map begins with room for it, and nobody else knows of it yet.
    unsafe {
        map.start
            .as_ptr()
            .cast::<[u8; super::NONCE_LEN]>()
            .write(nonce)
    };
    let mut segments = lock(&SEGMENTS);
    let at = match segments.iter().position(|s| s.strong_count() == 0) {
        Some(at) => at,
        None => {
            segments.push(Weak::new());
            segments.len() - 1
        }
    };
    let number = u16::try_from(at + 1).map_err(|_| io::ErrorKind::QuotaExceeded)?;
    let segment = Arc::new(Segment {
        map,
        file: File(file),
        number,
    });
    segments[at] = Arc::downgrade(&segment);
    Ok(segment)
}

/// Makes numbers free at the end of the list; those within it are found free when they are needed.
pub(super) fn forget_dead() {
    let mut segments = lock(&SEGMENTS);
    while segments.last().is_some_and(|s| s.strong_count() == 0) {
        segments.pop();
    }
}

/// The first segment that fits.
pub(super) fn find(fits: impl Fn(&Segment) -> bool) -> Option<Arc<Segment>> {
    let segments = lock(&SEGMENTS).clone();
    segments
        .iter()
        .filter_map(Weak::upgrade)
        .find(|segment| fits(segment))
}

/// Opens another process' segment for reading, or says why that cannot be.
pub(super) fn open(process: u32, file: u32, length: usize) -> Result<Opened, String> {
    let path = format!("/proc/{process}/fd/{file}");
    let link = std::fs::read_link(&path)
        .map_err(|error| format!("its owner's descriptor cannot be seen: {error}"))?;
    // Opening anything else could have effects.
    let is_segment = link.to_str().is_some_and(|link| {
        link.strip_prefix("/memfd:")
            .is_some_and(|name| name.starts_with(NAME))
    });
    if !is_segment {
        return Err(format!("the descriptor {file} is something else"));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|error| format!("its owner's descriptor cannot be opened: {error}"))?;
    let bytes = rustix::fs::fstat(&file).map_or(0, |stat| stat.st_size);
    if bytes as u64 != length as u64 {
        return Err(format!("it has {bytes} bytes, {length} were announced"));
    }
    let seals = rustix::fs::fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
    if !seals.contains(SealFlags::SHRINK | SealFlags::SEAL) {
        return Err("it could shrink under a reader".into());
    }
    Ok(Opened(file))
}
