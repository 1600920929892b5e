// SPDX-License-Identifier: GPL-2.0

//! Thresholds of thin provisioning: the watch against a model that keeps all it has seen, and the bytes of log and mode pages.

use proptest::prelude::*;
use scst_proto::bytes::Writer;
use scst_proto::inquiry::Provisioning;
use scst_proto::log_page::log_sense;
use scst_proto::mode::{Control, ModeDevice, ModeSense, ModeValues, PROVISIONING};
use scst_proto::mode_select::{mode_select, ModeSelect};
use scst_proto::opcode::PeripheralDeviceType;
use scst_proto::sense::*;
use scst_proto::threshold::{exponent, sets, Resources, Threshold, Thresholds, Watch, SET};

/// One threshold as SBC-4 tells it: all levels since it was set, and when it was told.
struct Model {
    increasing: bool,
    count: u64,
    levels: Vec<u64>,
    told: Vec<usize>,
}

impl Model {
    /// Half sets, so that the ends of the range are whole numbers.
    fn beyond(&self, level: u64) -> bool {
        let (level, middle) = (level * 2, self.count * SET * 2);
        match self.increasing {
            true => level > middle + SET,
            false => level + SET < middle,
        }
    }

    fn back(&self, level: u64) -> bool {
        let (level, middle) = (level * 2, self.count * SET * 2);
        match self.increasing {
            true => level + SET < middle,
            false => level > middle + SET,
        }
    }

    fn next(&mut self, level: u64) -> bool {
        let since = self.told.last().map_or(0, |last| last + 1);
        let armed = self.told.is_empty() || self.levels[since..].iter().any(|l| self.back(*l));
        self.levels.push(level);
        let now = armed && self.beyond(level);
        if now {
            self.told.push(self.levels.len() - 1);
        }
        now
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 1000 },
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn the_watch_tells_when_the_model_does(
        enabled in (any::<bool>(), any::<bool>()),
        counts in (0u32..8, 0u32..8),
        // Quarters of a set.
        levels in prop::collection::vec((0u64..32, 0u64..32), 1..60),
    ) {
        let thresholds = Thresholds {
            available: Threshold { enabled: enabled.0, count: counts.0 },
            used: Threshold { enabled: enabled.1, count: counts.1 },
            ..Thresholds::NONE
        };
        let model = |increasing, count| Model { increasing, count: u64::from(count), levels: vec![], told: vec![] };
        let (mut available, mut used) = (model(false, counts.0), model(true, counts.1));
        let mut watch = Watch::new();
        for (a, u) in levels {
            let now = Resources { available: a * SET / 4, used: u * SET / 4 };
            let expected = [
                enabled.0 && available.next(now.available),
                enabled.1 && used.next(now.used),
            ];
            prop_assert_eq!(watch.look(&thresholds, &now), expected.contains(&true), "{:?} of {:?}", now, thresholds);
        }
    }

    #[test]
    fn any_count_and_level(count: u32, available: u64, used: u64) {
        let threshold = Threshold { enabled: true, count };
        let thresholds = Thresholds { available: threshold, used: threshold, ..Thresholds::NONE };
        let middle = u128::from(count) * u128::from(SET);
        let half = u128::from(SET / 2);
        let told = u128::from(available) + half < middle || u128::from(used) > middle + half;
        let now = Resources { available, used };
        prop_assert_eq!(Watch::new().look(&thresholds, &now), told);
        let silent = Thresholds { report: false, ..thresholds };
        prop_assert!(!Watch::new().look(&silent, &now) && !silent.watched() && thresholds.watched());
    }

    #[test]
    fn mode_pages_go_there_and_back(report: bool, situa: bool, a: (bool, u32), u: (bool, u32)) {
        let thresholds = Thresholds {
            report,
            situa,
            available: Threshold { enabled: a.0, count: a.1 },
            used: Threshold { enabled: u.0, count: u.1 },
        };
        let (from, to) = (device(thresholds), device(Thresholds::NONE));
        for (page, subpage) in [(0x3f, 0xff), (0x1c, 0xff)] {
            let mut list = pages(&from, page, subpage, 0);
            list[..2].fill(0);
            let change = mode_select(&list, LONG, &to).unwrap();
            let report = if page == 0x3f { report } else { true };
            prop_assert_eq!(change.values.thresholds, Thresholds { report, ..thresholds });
        }
    }
}

const LONG: ModeSelect = ModeSelect {
    long_header: true,
    save: true,
};

fn device(thresholds: Thresholds) -> ModeDevice {
    let values = ModeValues {
        wce: true,
        control: Control::new(1),
        thresholds,
    };
    ModeDevice {
        pdt: PeripheralDeviceType::DISK,
        blocks: 1 << 20,
        block_size: 512,
        write_protected: false,
        dpofua: true,
        wce_changeable: true,
        thresholds: true,
        current: values,
        saved: values,
        default: values,
    }
}

/// MODE SENSE(10) without block descriptors; page control in the bits where it stands.
fn pages(d: &ModeDevice, page: u8, subpage: u8, control: u8) -> Vec<u8> {
    let cdb = [0x5a, 0x08, control | page, subpage, 0, 0, 0, 2, 0, 0];
    let mut buf = [0; 512];
    let mut w = Writer::new(&mut buf);
    d.mode_sense(&mut w, &ModeSense::decode(&cdb).unwrap())
        .unwrap();
    w.as_bytes().to_vec()
}

const SET_TO: Thresholds = Thresholds {
    report: true,
    situa: true,
    available: Threshold {
        enabled: true,
        count: 0x0102_0304,
    },
    used: Threshold {
        enabled: false,
        count: 7,
    },
};

#[test]
fn the_mode_page() {
    let d = device(SET_TO);
    let page = [
        0xdc, 0x02, 0, 0x1c, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // SITUA
        0x80, 0x01, 0, 0, 1, 2, 3, 4, // decreasing, what is available
        0x01, 0x02, 0, 0, 0, 0, 0, 7, // increasing, what is used
    ];
    assert_eq!(pages(&d, 0x1c, PROVISIONING, 0)[8..], page);
    let mask = pages(&d, 0x1c, PROVISIONING, 0x40);
    assert_eq!(mask[8..13], [0xdc, 0x02, 0, 0x1c, 0x01]);
    assert_eq!(mask[24..], [0x80, 0, 0, 0, 255, 255, 255, 255].repeat(2));
    // LBPERE.
    assert_eq!(
        pages(&d, 0x01, 0, 0)[8..16],
        [0x81, 0x0a, 0xc0, 1, 0, 0, 0, 0x80]
    );
    assert_eq!(
        pages(&d, 0x01, 0, 0x40)[8..],
        [0x81, 0x0a, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0]
    );
    // Subpages are in the list of all pages only if they are asked for.
    assert_eq!(
        pages(&d, 0x3f, 0xff, 0).len(),
        pages(&d, 0x3f, 0, 0).len() + page.len()
    );
    assert_eq!(pages(&d, 0x1c, 0xff, 0).len(), 8 + 12 + page.len());
    let plain = ModeDevice {
        thresholds: false,
        ..d
    };
    assert_eq!(pages(&plain, 0x3f, 0xff, 0), pages(&plain, 0x3f, 0, 0));
    assert_eq!(
        pages(&plain, 0x01, 0, 0)[8..16],
        [0x01, 0x0a, 0xc0, 1, 0, 0, 0, 0]
    );
    let ask = [0x5a, 8, 0x1c, PROVISIONING, 0, 0, 0, 2, 0, 0];
    let refused = plain.mode_sense(&mut Writer::new(&mut []), &ModeSense::decode(&ask).unwrap());
    assert_eq!(refused, Err(INVALID_FIELD_IN_CDB.in_cdb(3)));
}

#[test]
fn the_mode_page_is_refused() {
    let d = device(SET_TO);
    let good = {
        let mut list = pages(&d, 0x1c, PROVISIONING, 0);
        list[..2].fill(0);
        list
    };
    assert!(!mode_select(&good, LONG, &d).unwrap().changes(&d));
    let at = |byte| INVALID_FIELD_IN_PARAMETER_LIST.in_data(byte);
    // PAGE LENGTH; reserved; THRESHOLD TYPE; THRESHOLD RESOURCE; a subpage that is not there, and none.
    for (byte, value, field) in [
        (11, 0x24, 10),
        (13, 1, 13),
        (24, 0x88, 24),
        (25, 3, 25),
        (9, 1, 8),
        (9, 0, 8),
    ] {
        let mut list = good.clone();
        list[byte] = value;
        assert_eq!(mode_select(&list, LONG, &d), Err(at(field)), "byte {byte}");
    }
    assert_eq!(
        mode_select(&good[..good.len() - 1], LONG, &d),
        Err(PARAMETER_LIST_LENGTH_ERROR)
    );
    assert_eq!(
        mode_select(&good[..9], LONG, &d),
        Err(PARAMETER_LIST_LENGTH_ERROR)
    );
    let plain = ModeDevice {
        thresholds: false,
        ..d
    };
    assert_eq!(mode_select(&good, LONG, &plain), Err(at(8)));
}

fn log(page: u8, subpage: u8, from: u8, resources: Option<Resources>) -> Result<Vec<u8>, Sense> {
    let mut buf = [0; 64];
    let mut w = Writer::new(&mut buf);
    log_sense(
        &mut w,
        &[0x4d, 0, 0x40 | page, subpage, 0, 0, from, 0, 64, 0],
        resources,
    )?;
    Ok(w.as_bytes().to_vec())
}

#[test]
fn the_log_page() {
    let now = Some(Resources {
        available: 5 * SET + SET / 2,
        used: u64::MAX,
    });
    let available = [0, 1, 0x03, 8, 0, 0, 0, 5, 2, 0, 0, 0];
    let used = [0, 2, 0x03, 8, 255, 255, 255, 255, 1, 0, 0, 0];
    let page = |parameters: &[[u8; 12]]| {
        let mut page = vec![0x0c, 0, 0, 12 * parameters.len() as u8];
        page.extend(parameters.concat());
        Ok(page)
    };
    assert_eq!(log(0x0c, 0, 0, now), page(&[available, used]));
    assert_eq!(log(0x0c, 0, 1, now), page(&[available, used]));
    assert_eq!(log(0x0c, 0, 2, now), page(&[used]));
    assert_eq!(log(0x0c, 0, 3, now), Err(INVALID_FIELD_IN_CDB.in_cdb(5)));
    assert_eq!(log(0x0c, 1, 0, now), Err(INVALID_FIELD_IN_CDB.in_cdb(3)));
    assert_eq!(
        log(0x0c, 0, 0, None),
        Err(INVALID_FIELD_IN_CDB.in_cdb_bit(2, 5))
    );
    assert_eq!(log(0, 0, 0, now), Ok(vec![0, 0, 0, 3, 0, 0x0c, 0x2f]));
    assert_eq!(log(0, 0, 0, None), Ok(vec![0, 0, 0, 2, 0, 0x2f]));
    let all = vec![0x40, 0xff, 0, 8, 0, 0, 0, 0xff, 0x0c, 0, 0x2f, 0];
    assert_eq!(log(0, 0xff, 0, now), Ok(all));
    assert_eq!(
        log(0x2f, 0, 0, now),
        Ok(vec![0x2f, 0, 0, 8, 0, 0, 3, 4, 0, 0, 0xff, 0])
    );
    assert_eq!(log(0x2f, 0, 1, now), Err(INVALID_FIELD_IN_CDB.in_cdb(5)));
}

#[test]
fn sets_of_a_mebibyte() {
    assert_eq!(
        (exponent(9), exponent(12), exponent(20), exponent(40)),
        (11, 8, 0, 0)
    );
    assert_eq!(
        (sets(SET - 1), sets(3 * SET), sets(u64::MAX)),
        (0, 3, u32::MAX)
    );
    assert_eq!(Provisioning::thin(false).exponent, 0);
}
