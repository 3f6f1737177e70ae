//! nghttp2's encoder. It chooses by name what it puts into its table, and knows fields that are never indexed.

use std::ptr;

use libnghttp2_sys as ffi;

use crate::Result;
use crate::fields::{Field, List};

/// The largest table that the encoder is allowed.
const TABLE: usize = 65_536;

struct Deflater(*mut ffi::nghttp2_hd_deflater);

impl Drop for Deflater {
    fn drop(&mut self) {
        // SAFETY: it was made by nghttp2_hd_deflate_new, and is dropped once.
        unsafe { ffi::nghttp2_hd_deflate_del(self.0) }
    }
}

impl Deflater {
    fn new() -> Result<Deflater> {
        let mut deflater = ptr::null_mut();
        // SAFETY: the pointer that is written to is ours.
        let code = unsafe { ffi::nghttp2_hd_deflate_new(&mut deflater, TABLE) };
        checked(code as isize)?;
        Ok(Deflater(deflater))
    }

    fn resize(&mut self, size: u32) -> Result<()> {
        // SAFETY: the deflater lives.
        let code = unsafe { ffi::nghttp2_hd_deflate_change_table_size(self.0, size as usize) };
        checked(code as isize).map(drop)
    }

    fn block(&mut self, fields: &[Field]) -> Result<Vec<u8>> {
        let pairs: Vec<ffi::nghttp2_nv> = fields.iter().map(pair).collect();
        // SAFETY: the deflater lives, and so do the names and values that the pairs point to.
        let bound = unsafe { ffi::nghttp2_hd_deflate_bound(self.0, pairs.as_ptr(), pairs.len()) };
        let mut bytes = vec![0; bound];
        // SAFETY: as above, and `bytes` has as many octets as are said.
        let len = unsafe {
            ffi::nghttp2_hd_deflate_hd2(
                self.0,
                bytes.as_mut_ptr(),
                bytes.len(),
                pairs.as_ptr(),
                pairs.len(),
            )
        };
        bytes.truncate(checked(len as isize)?);
        Ok(bytes)
    }
}

fn pair(field: &Field) -> ffi::nghttp2_nv {
    ffi::nghttp2_nv {
        // nghttp2 writes to neither.
        name: field.name.as_ptr().cast_mut(),
        value: field.value.as_ptr().cast_mut(),
        namelen: field.name.len(),
        valuelen: field.value.len(),
        flags: if field.secret {
            ffi::NGHTTP2_NV_FLAG_NO_INDEX as u8
        } else {
            0
        },
    }
}

fn checked(code: isize) -> Result<usize> {
    usize::try_from(code).map_err(|_| format!("nghttp2 fails: {code}").into())
}

pub(crate) fn encode(list: &List) -> Result<Vec<Vec<u8>>> {
    let mut deflater = Deflater::new()?;
    let mut blocks = Vec::new();
    for block in &list.blocks {
        for &size in &block.tables {
            deflater.resize(size)?;
        }
        blocks.push(deflater.block(&block.fields)?);
    }
    Ok(blocks)
}
