// SPDX-License-Identifier: GPL-2.0

//! Initiator name patterns of access-control groups.
//!
//! `*` stands for any run of characters, `?` for exactly one, a `!` in front inverts the whole pattern. Letters match
//! whatever their case, as names such as WWNs come in either.

/// Whether `name` matches `pattern`, the leading `!` included.
///
/// Time is at most the product of the lengths: only the last `*` is ever gone back to, which is enough, as an earlier
/// one could only give away what the later can take as well.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('!') {
        Some(rest) => !matches_plain(rest.as_bytes(), name.as_bytes()),
        None => matches_plain(pattern.as_bytes(), name.as_bytes()),
    }
}

/// Whether `pattern` is more than a name.
pub fn is_pattern(pattern: &str) -> bool {
    pattern.starts_with('!') || pattern.contains(['*', '?'])
}

fn matches_plain(mut pattern: &[u8], mut name: &[u8]) -> bool {
    // Where to resume when things do not fit: behind the last `*`, and one byte of the name further each time.
    let mut resume: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern, name) {
            ([b'*', rest @ ..], _) => {
                resume = Some((rest, name));
                pattern = rest;
            }
            ([], []) => return true,
            ([p, p_rest @ ..], [n, n_rest @ ..]) if *p == b'?' || p.eq_ignore_ascii_case(n) => {
                pattern = p_rest;
                name = n_rest;
            }
            _ => match resume {
                Some((star, [_, rest @ ..])) => {
                    resume = Some((star, rest));
                    pattern = star;
                    name = rest;
                }
                _ => return false,
            },
        }
    }
}
