// SPDX-License-Identifier: GPL-2.0
//! stub
#![allow(missing_docs, unused, dead_code)]
use kernel::{prelude::*, sync::Arc, bindings};
pub struct Attr<T: 'static> { pub name: &'static CStr, pub mode: u16, pub show: Option<fn(&T, &mut Page<'_>) -> Result>, pub store: Option<fn(&T, &[u8]) -> Result>, pub help: &'static str }
impl<T> Attr<T> {
 pub const fn ro(name: &'static CStr, show: fn(&T, &mut Page<'_>) -> Result, help: &'static str) -> Self { Self{name,mode:0o444,show:Some(show),store:None,help} }
 pub const fn rw(name: &'static CStr, show: fn(&T, &mut Page<'_>) -> Result, store: fn(&T,&[u8])->Result, help: &'static str) -> Self { Self{name,mode:0o644,show:Some(show),store:Some(store),help} }
 pub const fn wo(name: &'static CStr, store: fn(&T,&[u8])->Result, help: &'static str) -> Self { Self{name,mode:0o200,show:None,store:Some(store),help} }
}
pub struct Page<'a>(&'a mut [u8]);
impl core::fmt::Write for Page<'_> { fn write_str(&mut self, s:&str)->core::fmt::Result { Ok(()) } }
impl Page<'_> { pub fn bytes(&mut self, b:&[u8]) {} }
pub struct Group;
impl Group { pub fn new<T: Send+Sync+'static>(data: Arc<T>, table: &'static [Attr<T>]) -> Result<Group> { Ok(Group) } }
pub enum Parent<'a> { Kernel, Dir(&'a Dir) }
pub struct Dir; pub struct Link; pub struct File;
impl Dir { pub fn create(p: Parent<'_>, name:&[u8], g: KVec<Group>) -> Result<Dir> { Ok(Dir) }
 pub fn symlink(&self, name:&[u8], t:&Dir)->Result<Link> {Ok(Link)}
 pub fn file(&self, name:&[u8], c:&[u8])->Result<File> {Ok(File)} }
