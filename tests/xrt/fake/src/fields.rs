//! Numbers at fixed places of the driver's structures: little-endian, in bytes that a program handed over.

/// Bytes that hold a structure.
pub struct Fields<'a>(pub &'a mut [u8]);

impl Fields<'_> {
    /// The 32-bit number at a byte offset; 0 beyond the end, as the kernel reads structures of an older program.
    pub fn u32(&self, offset: usize) -> u32 {
        u32(self.0, offset)
    }

    /// The 64-bit number at a byte offset; 0 beyond the end.
    pub fn u64(&self, offset: usize) -> u64 {
        u64(self.0, offset)
    }

    /// Writes; what lies beyond the end is dropped, as the kernel does for an older program.
    pub fn set_u32(&mut self, offset: usize, value: u32) {
        if let Some(place) = self.0.get_mut(offset..offset + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Writes; what lies beyond the end is dropped.
    pub fn set_u64(&mut self, offset: usize, value: u64) {
        if let Some(place) = self.0.get_mut(offset..offset + 8) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// The 32-bit number at a byte offset; 0 beyond the end.
pub fn u32(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..offset + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The 64-bit number at a byte offset; 0 beyond the end.
pub fn u64(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..offset + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}
