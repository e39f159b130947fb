//! Small changes to real bytes, told by a fuzzer: what a hostile party does to a message that it saw.

/// `real`, changed by each 4 bytes of `edits`: what to do, where (two bytes, modulo the length), with which byte.
pub(crate) fn edited(real: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = real.to_vec();
    for edit in edits.chunks_exact(4) {
        let &[kind, high, low, value] = edit else { continue };
        let at = usize::from(u16::from_be_bytes([high, low]))
            .checked_rem(bytes.len())
            .unwrap_or(0);
        match kind % 4 {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= value;
                }
            }
            1 => bytes.insert(at, value),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
