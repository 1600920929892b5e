// SPDX-License-Identifier: GPL-2.0
//! stub
/// x
pub struct P<T: Copy>(pub T);
impl<T: Copy> P<T> { /// x
 pub const fn get(&self) -> T { self.0 } }
/// x
#[macro_export]
macro_rules! param {
    ($($(#[$m:meta])* static $n:ident: $t:ty = $d:expr, name: $name:literal, perm: $p:expr, $(range: $r:expr,)? description: $desc:literal;)*) => {
        $($(#[$m])* static $n: $crate::param::P<$t> = $crate::param::P($d);)*
    };
}
