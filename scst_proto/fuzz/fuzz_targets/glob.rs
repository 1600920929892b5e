// SPDX-License-Identifier: GPL-2.0

//! Patterns against the definition by dynamic programming.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scst_proto::glob::matches;

/// `row[j]`: the pattern so far matches the first `j` bytes of the name.
fn reference(pattern: &[u8], name: &[u8]) -> bool {
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for p in pattern {
        let mut next = vec![false; name.len() + 1];
        for j in 0..=name.len() {
            next[j] = match p {
                b'*' => row[j] || (j > 0 && next[j - 1]),
                b'?' => j > 0 && row[j - 1],
                _ => j > 0 && row[j - 1] && p.eq_ignore_ascii_case(&name[j - 1]),
            };
        }
        row = next;
    }
    row[name.len()]
}

fuzz_target!(|data: &str| {
    let Some((pattern, name)) = data.split_once('\n') else {
        return;
    };
    if pattern.len() * name.len() > 1 << 16 {
        return;
    }
    let expected = match pattern.strip_prefix('!') {
        Some(rest) => !reference(rest.as_bytes(), name.as_bytes()),
        None => reference(pattern.as_bytes(), name.as_bytes()),
    };
    assert_eq!(matches(pattern, name), expected);
});
