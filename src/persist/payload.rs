//! Payload: one value on its way from a server to another, as DUMP makes it.
//!
//! ```text
//! [type: 1] [value] [RDB version: u16 le] [CRC64 of all before: u64 le]
//! ```

use crc::{CRC_64_REDIS, Crc, Table};

/// The version of the RDB format that values are written in, and the latest that is read.
pub const RDB_VERSION: u16 = 12;

const VERSION_LEN: usize = 2;
const CRC_LEN: usize = 8;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// The payload is of a later version, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("DUMP payload version or checksum are wrong")]
pub struct PayloadError;

/// The checksum of RDB files and payloads.
pub fn crc64(bytes: &[u8]) -> u64 {
    CRC.checksum(bytes)
}

/// The same for bytes that come in pieces.
pub fn digest() -> crc::Digest<'static, u64, Table<16>> {
    CRC.digest()
}

/// Makes a payload of a type and value.
pub fn seal(value: &mut Vec<u8>) {
    value.extend_from_slice(&RDB_VERSION.to_le_bytes());
    value.extend_from_slice(&crc64(value).to_le_bytes());
}

/// The type and value in a payload.
pub fn open(payload: &[u8], checks_crc: bool) -> Result<&[u8], PayloadError> {
    let (summed, crc) = payload.split_last_chunk::<CRC_LEN>().ok_or(PayloadError)?;
    let (value, version) = summed
        .split_last_chunk::<VERSION_LEN>()
        .ok_or(PayloadError)?;
    let is_known = u16::from_le_bytes(*version) <= RDB_VERSION;
    let is_whole = !checks_crc || u64::from_le_bytes(*crc) == crc64(summed);
    (is_known && is_whole).then_some(value).ok_or(PayloadError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_real_servers() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn a_payload_of_a_real_server_is_opened_and_one_that_is_damaged_is_not() {
        let real = b"\x00\x03bar\x0c\x00-\xc8}\xa0\x14Lc^";
        let mut ours = b"\x00\x03bar".to_vec();
        seal(&mut ours);
        assert_eq!(ours, real);
        assert_eq!(open(&ours, true), Ok(&b"\x00\x03bar"[..]));
        for at in 0..ours.len() {
            let mut bad = ours.clone();
            bad[at] ^= 1;
            assert_eq!(open(&bad, true), Err(PayloadError));
            assert_eq!(open(&ours[..at], true), Err(PayloadError));
        }
    }
}
