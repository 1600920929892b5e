// SPDX-License-Identifier: GPL-2.0

//! An adapter as a vfio-user device: QEMU connects to its socket, again after each end of a machine.

use crate::pci::{self, Config};
use crate::switch::Fabric;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vfio_bindings::bindings::vfio::{
    vfio_region_info, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE, VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

/// Locks the fabric; a thread that has panicked has said so.
pub fn lock(fabric: &Mutex<Fabric>) -> MutexGuard<'_, Fabric> {
    fabric.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Device {
    index: usize,
    fabric: Arc<Mutex<Fabric>>,
    config: Config,
}

impl ServerBackend for Device {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX if lock(&self.fabric).hbas[self.index].removed => {
                data.fill(u8::MAX)
            }
            VFIO_PCI_CONFIG_REGION_INDEX => self.config.read(offset, data),
            pci::BAR => lock(&self.fabric).register_read(self.index, offset, data),
            _ => data.fill(u8::MAX),
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.config.write(offset, data),
            pci::BAR => lock(&self.fabric).register_write(self.index, offset, data),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        _flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        // What comes without a file is no memory: other devices' registers, the firmware's ROM.
        if let Some(file) = file {
            let mut fabric = lock(&self.fabric);
            let hba = &mut fabric.hbas[self.index];
            if let Err(error) = hba.memory.map(address, size, offset, file) {
                eprintln!(
                    "fabric: {}: {size:#x} bytes at {address:#x} cannot be mapped: {error}",
                    hba.name
                );
            }
        }
        Ok(())
    }

    fn dma_unmap(&mut self, _flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        lock(&self.fabric).hbas[self.index]
            .memory
            .unmap(address, size);
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        lock(&self.fabric).reset(self.index);
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        files: Vec<File>,
    ) -> io::Result<()> {
        if index != VFIO_PCI_MSIX_IRQ_INDEX {
            return Ok(());
        }
        let mut fabric = lock(&self.fabric);
        let hba = &mut fabric.hbas[self.index];
        if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            let end = (start as usize)
                .saturating_add(files.len())
                .min(usize::from(pci::VECTORS));
            if hba.vectors.len() < end {
                hba.vectors.resize_with(end, || None);
            }
            for (vector, file) in hba.vectors.iter_mut().skip(start as usize).zip(files) {
                *vector = Some(file);
            }
            hba.raise();
        } else if flags & VFIO_IRQ_SET_DATA_NONE != 0 && count == 0 {
            hba.vectors.clear();
        }
        Ok(())
    }
}

fn regions() -> Vec<ServerRegion> {
    let region = |index| {
        let size = match index {
            pci::BAR => pci::BAR_BYTES,
            VFIO_PCI_CONFIG_REGION_INDEX => pci::CONFIG_BYTES as u64,
            _ => 0,
        };
        let flags = if size == 0 {
            0
        } else {
            VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE
        };
        let argsz = size_of::<vfio_region_info>() as u32;
        let region_info = vfio_region_info {
            argsz,
            index,
            size,
            flags,
            ..Default::default()
        };
        ServerRegion {
            region_info,
            sparse_areas: Vec::new(),
            mmap_fd: None,
        }
    };
    (0..VFIO_PCI_NUM_REGIONS).map(region).collect()
}

fn interrupts() -> Vec<IrqInfo> {
    let interrupt = |index| match index {
        VFIO_PCI_MSIX_IRQ_INDEX => {
            let flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
            IrqInfo {
                index,
                count: u32::from(pci::VECTORS),
                flags,
            }
        }
        _ => IrqInfo {
            index,
            count: 0,
            flags: 0,
        },
    };
    (0..VFIO_PCI_NUM_IRQS).map(interrupt).collect()
}

/// A socket that a machine can connect to for an adapter.
pub struct Slot {
    server: Server,
    index: usize,
    fabric: Arc<Mutex<Fabric>>,
}

impl Slot {
    /// Makes the socket PATH for an adapter of the fabric.
    pub fn new(path: &Path, index: usize, fabric: Arc<Mutex<Fabric>>) -> io::Result<Self> {
        let server = Server::new(path, true, interrupts(), regions()).map_err(io::Error::other)?;
        Ok(Self {
            server,
            index,
            fabric,
        })
    }

    /// Serves one machine after another.
    pub fn serve(self) {
        loop {
            let mut device = Device {
                index: self.index,
                fabric: self.fabric.clone(),
                config: Config::default(),
            };
            let end = self.server.run(&mut device);
            let mut fabric = lock(&self.fabric);
            fabric.reset(self.index);
            let hba = &mut fabric.hbas[self.index];
            hba.vectors.clear();
            hba.memory.clear();
            if let Err(error) = end {
                eprintln!("fabric: {}: {error}", hba.name);
            }
        }
    }
}
