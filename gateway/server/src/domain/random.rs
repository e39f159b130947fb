//! The one source of random bytes: the operating system's, through aws-lc.

use anyhow::anyhow;

/// Fresh random bytes.
pub(crate) fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow!("the random source of the system failed"))?;
    Ok(bytes)
}
