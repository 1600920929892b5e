// SPDX-License-Identifier: GPL-2.0

//! The memory of a guest, as far as its adapter may reach it.

use crate::wire::Segment;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap, MmapRegion,
};

/// An address that no mapping covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The DMA address.
    pub address: u64,
    /// Bytes that were asked for.
    pub bytes: usize,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no memory at {:#x} for {} bytes",
            self.address, self.bytes
        )
    }
}

/// What QEMU has shared.
#[derive(Default)]
pub struct Memory(GuestMemoryMmap);

impl Memory {
    /// Adds SIZE bytes of FILE, from OFFSET, at ADDRESS.
    pub fn map(&mut self, address: u64, size: u64, offset: u64, file: File) -> io::Result<()> {
        let bytes = usize::try_from(size).map_err(io::Error::other)?;
        let mapping = MmapRegion::from_file(FileOffset::new(file, offset), bytes)
            .map_err(io::Error::other)?;
        let region = GuestRegionMmap::new(mapping, GuestAddress(address))
            .ok_or_else(|| io::Error::other("a mapping that wraps around"))?;
        self.0 = self
            .0
            .insert_region(Arc::new(region))
            .map_err(io::Error::other)?;
        Ok(())
    }

    /// Takes away what lies wholly within SIZE bytes at ADDRESS.
    pub fn unmap(&mut self, address: u64, size: u64) {
        let gone: Vec<(GuestAddress, u64)> = self
            .0
            .iter()
            .map(|region| (region.start_addr(), region.len()))
            .filter(|(start, length)| start.0 >= address && start.0 - address + length <= size)
            .collect();
        for (start, length) in gone {
            if let Ok((left, _)) = self.0.remove_region(start, length) {
                self.0 = left;
            }
        }
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.0 = GuestMemoryMmap::default();
    }

    /// Fills BUFFER from ADDRESS.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), Fault> {
        let fault = Fault {
            address,
            bytes: buffer.len(),
        };
        self.0
            .read_slice(buffer, GuestAddress(address))
            .map_err(|_| fault)
    }

    /// Writes BUFFER to ADDRESS.
    pub fn write(&self, address: u64, buffer: &[u8]) -> Result<(), Fault> {
        let fault = Fault {
            address,
            bytes: buffer.len(),
        };
        self.0
            .write_slice(buffer, GuestAddress(address))
            .map_err(|_| fault)
    }
}

/// The runs of a list of segments that cover LENGTH bytes from OFFSET: address and bytes of each.
pub fn runs(segments: &[Segment], offset: u64, length: u64) -> Vec<(u64, u64)> {
    let (mut skip, mut left) = (offset, length);
    let mut found = Vec::new();
    for segment in segments {
        let bytes = u64::from(segment.length.get());
        let from = skip.min(bytes);
        skip -= from;
        let take = (bytes - from).min(left);
        if take > 0 {
            found.push((segment.address.get().wrapping_add(from), take));
            left -= take;
        }
    }
    found
}

/// Copies LENGTH bytes: from the segments of SOURCE, beginning at its offset, to those of TARGET at its offset.
///
/// Returns the number of bytes moved, which is less where one of the lists ends.
pub fn copy(
    source: (&Memory, &[Segment], u64),
    target: (&Memory, &[Segment], u64),
    length: u64,
) -> Result<u64, Fault> {
    let mut moved = 0;
    let mut buffer = Vec::new();
    let room: u64 = runs(target.1, target.2, length)
        .iter()
        .map(|run| run.1)
        .sum();
    for (address, bytes) in runs(source.1, source.2, room.min(length)) {
        buffer.resize(usize::try_from(bytes).unwrap_or(0), 0);
        source.0.read(address, &mut buffer)?;
        let mut rest = buffer.as_slice();
        for (to, fits) in runs(target.1, target.2 + moved, bytes) {
            let (now, later) = rest.split_at(usize::try_from(fits).unwrap_or(0).min(rest.len()));
            target.0.write(to, now)?;
            rest = later;
        }
        moved += bytes;
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn memory(bytes: &[u8]) -> Memory {
        let name = format!(
            "fabric-test-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(name);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .expect("file");
        let _ = std::fs::remove_file(&path);
        file.write_all(bytes).expect("write");
        let mut memory = Memory::default();
        memory
            .map(0x1000, bytes.len() as u64, 0, file)
            .expect("map");
        memory
    }

    fn segment(address: u64, length: u32) -> Segment {
        Segment {
            address: address.into(),
            length: length.into(),
        }
    }

    #[test]
    fn runs_begin_and_end_within_segments() {
        let list = [segment(100, 10), segment(200, 10)];
        assert_eq!(runs(&list, 0, 20), [(100, 10), (200, 10)]);
        assert_eq!(runs(&list, 4, 8), [(104, 6), (200, 2)]);
        assert_eq!(runs(&list, 10, 99), [(200, 10)]);
        assert!(runs(&list, 20, 1).is_empty());
    }

    #[test]
    fn copies_between_lists_of_different_shape() {
        let pattern: Vec<u8> = (0..=255).collect();
        let (from, to) = (memory(&pattern), memory(&[0; 256]));
        let source = [segment(0x1000, 5), segment(0x1080, 100)];
        let target = [segment(0x1010, 50), segment(0x1060, 7), segment(0x1080, 9)];
        let moved = copy((&from, &source, 2), (&to, &target, 1), 64).expect("copy");
        assert_eq!(moved, 64);
        let mut out = [0; 64];
        to.read(0x1011, &mut out[..49]).expect("read");
        to.read(0x1060, &mut out[49..56]).expect("read");
        to.read(0x1080, &mut out[56..]).expect("read");
        let expected: Vec<u8> = [2, 3, 4].into_iter().chain(0x80..0x80 + 61).collect();
        assert_eq!(out.as_slice(), expected);
    }

    #[test]
    fn ends_where_the_target_does_and_faults_outside() {
        let (from, to) = (memory(&[7; 64]), memory(&[0; 64]));
        let short = [segment(0x1000, 3)];
        assert_eq!(
            copy((&from, &[segment(0x1000, 64)], 0), (&to, &short, 0), 64),
            Ok(3)
        );
        let outside = [segment(0x9000, 8)];
        assert!(copy((&from, &outside, 0), (&to, &short, 0), 8).is_err());
    }

    #[test]
    fn what_is_unmapped_is_gone() {
        let mut memory = memory(&[1; 4096]);
        memory.unmap(0, 0x1000);
        assert!(memory.read(0x1000, &mut [0]).is_ok());
        memory.unmap(0x1000, 0x1000);
        assert!(memory.read(0x1000, &mut [0]).is_err());
    }
}
