// SPDX-License-Identifier: GPL-2.0

//! Parameters of virtual disks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::mgmt::Params;
use scst_proto::options::{Handler, VdiskOptions};

fuzz_target!(|data: &str| {
    for handler in [
        Handler::BlockIo,
        Handler::FileIo,
        Handler::NullIo,
        Handler::Cdrom,
    ] {
        match VdiskOptions::parse(handler, Params::new(data)) {
            Ok(o) => {
                let block = o.block_size_or_default(handler);
                assert!(block.is_power_of_two() && (512..=32768).contains(&block));
                assert_eq!(o.size.unwrap_or(0) % u64::from(block), 0);
                assert!(o.dif_type <= 3 && o.tst.unwrap_or(0) <= 1 && o.numa_node_id >= -1);
                assert!(o.async_io || !o.o_direct);
                for path in [o.filename, o.dif_filename].into_iter().flatten() {
                    assert!(path.starts_with('/'));
                }
            }
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
});
