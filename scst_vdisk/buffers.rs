// SPDX-License-Identifier: GPL-2.0

//! READ BUFFER and WRITE BUFFER: the echo buffer, which initiators test their way
//! to the device with. All share one; who reads what another wrote finds that.

use crate::{commands, disk::Disk};
use kernel::prelude::*;
use scst::{status, Cmd, Executing};
use scst_proto::{
    buffer::{self, Mode},
    sense::COMMAND_SEQUENCE_ERROR,
};

/// READ BUFFER, SPC-6 6.20.
pub(crate) fn read(disk: &Disk, mut cmd: Cmd<Executing>) {
    match buffer::read_mode(cmd.raw_cdb()) {
        Ok(Mode::Echo) => {
            let echo = disk.echo.lock();
            if echo.is_empty() {
                drop(echo);
                return cmd.check_condition(COMMAND_SEQUENCE_ERROR);
            }
            cmd.put(&echo);
            drop(echo);
            cmd.good();
        }
        mode => commands::data(cmd, |_, w| {
            w.bytes(&match mode? {
                Mode::EchoDescriptor => buffer::echo_descriptor(),
                _ => buffer::NO_BUFFER,
            });
            Ok(())
        }),
    }
}

/// WRITE BUFFER, SPC-6 6.49.
pub(crate) fn write(disk: &Disk, cmd: Cmd<Executing>) {
    if let Err(sense) = buffer::check_write(cmd.raw_cdb()) {
        return cmd.check_condition(sense);
    }
    let Ok(mut echo) = KVec::from_elem(0u8, cmd.length() as usize, GFP_KERNEL) else {
        return cmd.status(status::BUSY);
    };
    let copied = cmd.get(&mut echo);
    echo.truncate(copied);
    let old = core::mem::replace(&mut *disk.echo.lock(), echo);
    drop(old);
    cmd.good_with(copied as u32);
}
