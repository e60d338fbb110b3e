//! What travels of a file: Zstandard, in the letters of base64, since the gateway's frames
//! are JSON.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ride_core::limits::FRAME_BYTES;
use zstd::bulk::Compressor;

/// Of a transcript level 3 makes a tenth less, and takes a third longer (887 and 653 MB/s,
/// 6.8 and 7.5 times smaller): the gateway has more to do.
const LEVEL: i32 = 1;

/// A text that is no frame.
#[derive(Debug, thiserror::Error)]
#[error("data is no frame of up to 1 MiB: {0}")]
pub struct NotAFrame(String);

thread_local! {
    /// What packing needs: memory that is new for each frame costs a fifth of the packing.
    static PACKING: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Packs up to [`FRAME_BYTES`].
pub fn pack(bytes: &[u8]) -> String {
    const MEMORY: &str = "room for a frame is all that compressing needs";
    PACKING.with_borrow_mut(|packing| {
        let (compressor, packed) = packing.get_or_insert_with(|| {
            (Compressor::new(LEVEL).expect(MEMORY), Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME_BYTES)))
        });
        packed.clear();
        compressor.compress_to_buffer(bytes, packed).expect(MEMORY);
        STANDARD.encode(packed)
    })
}

/// Unpacks a frame; nothing larger is unpacked.
///
/// # Errors
/// When it is none.
pub fn unpack(text: &str) -> Result<Vec<u8>, NotAFrame> {
    let packed = STANDARD.decode(text).map_err(|e| NotAFrame(e.to_string()))?;
    zstd::bulk::decompress(&packed, FRAME_BYTES).map_err(|e| NotAFrame(e.to_string()))
}
