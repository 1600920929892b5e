// SPDX-License-Identifier: GPL-2.0

//! What is read and changed of another device's INQUIRY data, whatever that has in it.

use proptest::prelude::*;
use scst_proto::bytes::Writer;
use scst_proto::inquiry::{cscd_of_page, designates, with_third_party_copy};

const NAA: [u8; 8] = [0x53, 1, 2, 3, 4, 5, 6, 7];
const EUI: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

fn descriptor(set: u8, what: u8, name: &[u8]) -> Vec<u8> {
    [&[set, what, 0, name.len() as u8], name].concat()
}

/// Page 83h of a SAS disk: vendor's, EUI-64, a port's and its own NAA, with protocol identifier and PIV.
fn page() -> Vec<u8> {
    [
        descriptor(
            2,
            1,
            b"ATA     a name that no descriptor of a copy has room for",
        ),
        descriptor(1, 2, &EUI),
        descriptor(0x61, 0x93, &[0x51; 8]),
        descriptor(0x61, 0x83, &NAA),
    ]
    .concat()
}

#[test]
fn a_disk_is_known_by_its_own_designators() {
    assert!(designates(&page(), 1, 3, &NAA) && designates(&page(), 1, 2, &EUI));
    // A port's, another type, a part of one, one of the other code set.
    assert!(!designates(&page(), 1, 0x13, &[0x51; 8]) && !designates(&page(), 1, 3, &[0x51; 8]));
    assert!(!designates(&page(), 1, 2, &NAA) && !designates(&page(), 1, 3, &NAA[..7]));
    assert!(!designates(&page(), 2, 3, &NAA) && !designates(&[], 1, 3, &[]));
}

#[test]
fn the_descriptor_of_a_disk_has_its_best_designator() {
    let with = |page: &[u8]| cscd_of_page(page, 0, 4096);
    let wanted = |kind: u8, name: &[u8]| {
        let mut d = vec![0xe4, 0, 0, 0, 1, kind, 0, name.len() as u8];
        d.extend_from_slice(name);
        d.resize(29, 0);
        d.extend_from_slice(&[0, 0x10, 0]);
        Some(d)
    };
    let found = |page: &[u8]| with(page).map(|d| d.to_vec());
    assert_eq!(found(&page()), wanted(3, &NAA));
    assert_eq!(found(&descriptor(1, 2, &EUI)), wanted(2, &EUI));
    assert_eq!(found(&descriptor(2, 1, &[b'x'; 21])), None);
    assert_eq!(found(&descriptor(1, 0x13, &NAA)), None);
}

fn changed(evpd: bool, answer: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 600];
    let mut w = Writer::new(&mut buffer);
    with_third_party_copy(&mut w, evpd, answer);
    w.as_bytes().to_vec()
}

proptest! {
    #[test]
    fn one_bit_of_standard_data(answer in proptest::collection::vec(any::<u8>(), 0..255)) {
        let mut wanted = answer.clone();
        if let Some(byte) = wanted.get_mut(5) {
            *byte |= 8;
        }
        prop_assert_eq!(changed(false, &answer), wanted);
    }

    #[test]
    fn one_page_in_the_list(pages in proptest::collection::btree_set(any::<u8>(), 0..200)) {
        let mut wanted = pages.clone();
        wanted.insert(0x8f);
        let made = |pages: &std::collections::BTreeSet<u8>| {
            let head = [0, 0, 0, pages.len() as u8];
            head.into_iter().chain(pages.iter().copied()).collect::<Vec<u8>>()
        };
        prop_assert_eq!(changed(true, &made(&pages)), made(&wanted));
    }

    #[test]
    fn any_bytes(page in proptest::collection::vec(any::<u8>(), 0..255), kind in any::<u8>(), name in any::<[u8; 8]>()) {
        let _ = (changed(true, &page), designates(&page, 1, kind, &name));
        if let Some(d) = cscd_of_page(&page, 0, 512) {
            prop_assert!(designates(&page, d[4], d[5], &d[8..][..usize::from(d[7])]));
        }
    }
}
