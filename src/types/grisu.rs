//! Grisu: the digits of a double as the real server prints them.
//!
//! Lives here: the second algorithm of Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers"
//! (PLDI 2010). It is used because the real server uses it: its digits always read back the same, but about one number
//! in a thousand gets a digit more than the shortest, which a newer algorithm would not reproduce. May not: where the
//! point and the exponent go.
//!
//! A number is kept as `bits * 2^exp` with the highest of the 64 bits set. Multiplied by a power of ten out of a table
//! it comes to lie between 2^-60 and 2^-32 of 2^64, from where its digits can be read off with integer arithmetic. The
//! interval of numbers that read back the same is taken along, one unit narrower on each side to make up for the
//! rounding of the product, and digits are written until what is left of them lies within it.

/// The most digits.
pub const DIGITS_MAX: usize = 18;

/// `bits * 2^exp`.
#[derive(Clone, Copy)]
struct Scaled {
    bits: u64,
    exp: i32,
}

impl Scaled {
    /// The same number with the highest bit set.
    fn normal(self) -> Scaled {
        let shift = self.bits.leading_zeros();
        Scaled {
            bits: self.bits << shift,
            exp: self.exp - shift as i32,
        }
    }

    /// The upper half of the product, rounded.
    fn times(self, other: Scaled) -> Scaled {
        let product = u128::from(self.bits) * u128::from(other.bits);
        Scaled {
            bits: ((product + (1 << 63)) >> 64) as u64,
            exp: self.exp + other.exp + 64,
        }
    }
}

/// The decimal exponents of the table's first entry, and from one entry to the next.
const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;
/// Exponents that a product may have.
const EXP_MIN: i32 = -60;
const EXP_MAX: i32 = -32;

/// A power of ten that brings numbers of this exponent into range, and its own decimal exponent.
fn power_for(exp: i32) -> (Scaled, i32) {
    const LOG10_OF_2: f64 = 0.301_029_995_663_981_14;
    let guess = (-f64::from(exp + POWERS.len() as i32) * LOG10_OF_2) as i32;
    let mut at = ((guess - POWER_FIRST) / POWER_STEP).clamp(0, POWERS.len() as i32 - 1) as usize;
    loop {
        let (bits, power_exp) = POWERS[at];
        let reached = exp + power_exp + 64;
        if reached < EXP_MIN && at + 1 < POWERS.len() {
            at += 1;
        } else if reached > EXP_MAX && at > 0 {
            at -= 1;
        } else {
            let power = Scaled {
                bits,
                exp: power_exp,
            };
            return (power, POWER_FIRST + at as i32 * POWER_STEP);
        }
    }
}

/// The decimal digits of a positive, finite number, their count, and the power of ten that they are to be multiplied
/// by.
pub fn digits(value: f64) -> ([u8; DIGITS_MAX], usize, i32) {
    debug_assert!(value > 0.0 && value.is_finite());
    let raw = value.to_bits();
    let (fraction, biased) = (raw & ((1 << 52) - 1), (raw >> 52) as i32 & 0x7ff);
    let exact = match biased {
        0 => Scaled {
            bits: fraction,
            exp: -1074,
        },
        _ => Scaled {
            bits: fraction | 1 << 52,
            exp: biased - 1075,
        },
    };
    // Half way to the neighbours; the lower one is nearer below a power of two.
    let upper = Scaled {
        bits: (exact.bits << 1) + 1,
        exp: exact.exp - 1,
    }
    .normal();
    let closer = u32::from(exact.bits == 1 << 52);
    let lower = Scaled {
        bits: (exact.bits << (1 + closer)) - 1,
        exp: exact.exp - 1 - closer as i32,
    };
    let lower = Scaled {
        bits: lower.bits << (lower.exp - upper.exp),
        exp: upper.exp,
    };
    let (power, decimal_exp) = power_for(upper.exp);
    let middle = exact.normal().times(power);
    let (mut upper, mut lower) = (upper.times(power), lower.times(power));
    upper.bits -= 1;
    lower.bits += 1;
    read_off(middle, upper, lower, -decimal_exp)
}

/// Writes digits of `upper` until the rest is smaller than the interval, then comes as near to `middle` as the last
/// digit allows.
fn read_off(
    middle: Scaled,
    upper: Scaled,
    lower: Scaled,
    decimal_exp: i32,
) -> ([u8; DIGITS_MAX], usize, i32) {
    let mut out = [0; DIGITS_MAX];
    let mut len = 0;
    let mut push = |digit: u64| {
        if (digit > 0 || len > 0) && len < DIGITS_MAX {
            out[len] = b'0' + digit as u8;
            len += 1;
        }
        len
    };
    let shift = -upper.exp as u32;
    let one = 1u64 << shift;
    let distance = upper.bits - middle.bits;
    let mut width = upper.bits - lower.bits;
    let mut whole = upper.bits >> shift;
    let mut rest = upper.bits & (one - 1);
    let mut kappa = 10;
    let mut unit = 1_000_000_000u64;
    while kappa > 0 {
        let len = push(whole / unit);
        whole %= unit;
        kappa -= 1;
        let left = (whole << shift) + rest;
        if left <= width {
            round(&mut out[..len], width, left, unit << shift, distance);
            return (out, len, decimal_exp + kappa);
        }
        unit /= 10;
    }
    let mut scale = 1u64;
    loop {
        rest = rest.wrapping_mul(10);
        width = width.wrapping_mul(10);
        scale = scale.wrapping_mul(10);
        kappa -= 1;
        let len = push(rest >> shift);
        rest &= one - 1;
        if rest < width {
            round(
                &mut out[..len],
                width,
                rest,
                one,
                distance.wrapping_mul(scale),
            );
            return (out, len, decimal_exp + kappa);
        }
    }
}

/// Lowers the last digit, which is worth `unit`, while that brings the number, which lies `left` below the upper end
/// of the interval, nearer to the one meant, `distance` below it.
fn round(digits: &mut [u8], width: u64, mut left: u64, unit: u64, distance: u64) {
    let Some(last) = digits.last_mut() else {
        return;
    };
    while left < distance
        && width - left >= unit
        && (left + unit < distance || distance - left > left + unit - distance)
    {
        *last -= 1;
        left += unit;
    }
}

/// Ten to the -348th, -340th and so on: 64 bits, rounded, and the exponent of two.
#[rustfmt::skip]
const POWERS: [(u64, i32); 87] = [
    (0xfa8f_d5a0_081c_0288, -1220),
    (0xbaae_e17f_a23e_bf76, -1193),
    (0x8b16_fb20_3055_ac76, -1166),
    (0xcf42_894a_5dce_35ea, -1140),
    (0x9a6b_b0aa_5565_3b2d, -1113),
    (0xe61a_cf03_3d1a_45df, -1087),
    (0xab70_fe17_c79a_c6ca, -1060),
    (0xff77_b1fc_bebc_dc4f, -1034),
    (0xbe56_91ef_416b_d60c, -1007),
    (0x8dd0_1fad_907f_fc3c, -980),
    (0xd351_5c28_3155_9a83, -954),
    (0x9d71_ac8f_ada6_c9b5, -927),
    (0xea9c_2277_23ee_8bcb, -901),
    (0xaecc_4991_4078_536d, -874),
    (0x823c_1279_5db6_ce57, -847),
    (0xc210_9436_4dfb_5637, -821),
    (0x9096_ea6f_3848_984f, -794),
    (0xd774_85cb_2582_3ac7, -768),
    (0xa086_cfcd_97bf_97f4, -741),
    (0xef34_0a98_172a_ace5, -715),
    (0xb238_67fb_2a35_b28e, -688),
    (0x84c8_d4df_d2c6_3f3b, -661),
    (0xc5dd_4427_1ad3_cdba, -635),
    (0x936b_9fce_bb25_c996, -608),
    (0xdbac_6c24_7d62_a584, -582),
    (0xa3ab_6658_0d5f_daf6, -555),
    (0xf3e2_f893_dec3_f126, -529),
    (0xb5b5_ada8_aaff_80b8, -502),
    (0x8762_5f05_6c7c_4a8b, -475),
    (0xc9bc_ff60_34c1_3053, -449),
    (0x964e_858c_91ba_2655, -422),
    (0xdff9_7724_7029_7ebd, -396),
    (0xa6df_bd9f_b8e5_b88f, -369),
    (0xf8a9_5fcf_8874_7d94, -343),
    (0xb944_7093_8fa8_9bcf, -316),
    (0x8a08_f0f8_bf0f_156b, -289),
    (0xcdb0_2555_6531_31b6, -263),
    (0x993f_e2c6_d07b_7fac, -236),
    (0xe45c_10c4_2a2b_3b06, -210),
    (0xaa24_2499_6973_92d3, -183),
    (0xfd87_b5f2_8300_ca0e, -157),
    (0xbce5_0864_9211_1aeb, -130),
    (0x8cbc_cc09_6f50_88cc, -103),
    (0xd1b7_1758_e219_652c, -77),
    (0x9c40_0000_0000_0000, -50),
    (0xe8d4_a510_0000_0000, -24),
    (0xad78_ebc5_ac62_0000, 3),
    (0x813f_3978_f894_0984, 30),
    (0xc097_ce7b_c907_15b3, 56),
    (0x8f7e_32ce_7bea_5c70, 83),
    (0xd5d2_38a4_abe9_8068, 109),
    (0x9f4f_2726_179a_2245, 136),
    (0xed63_a231_d4c4_fb27, 162),
    (0xb0de_6538_8cc8_ada8, 189),
    (0x83c7_088e_1aab_65db, 216),
    (0xc45d_1df9_4271_1d9a, 242),
    (0x924d_692c_a61b_e758, 269),
    (0xda01_ee64_1a70_8dea, 295),
    (0xa26d_a399_9aef_774a, 322),
    (0xf209_787b_b47d_6b85, 348),
    (0xb454_e4a1_79dd_1877, 375),
    (0x865b_8692_5b9b_c5c2, 402),
    (0xc835_53c5_c896_5d3d, 428),
    (0x952a_b45c_fa97_a0b3, 455),
    (0xde46_9fbd_99a0_5fe3, 481),
    (0xa59b_c234_db39_8c25, 508),
    (0xf6c6_9a72_a398_9f5c, 534),
    (0xb7dc_bf53_54e9_bece, 561),
    (0x88fc_f317_f222_41e2, 588),
    (0xcc20_ce9b_d35c_78a5, 614),
    (0x9816_5af3_7b21_53df, 641),
    (0xe2a0_b5dc_971f_303a, 667),
    (0xa8d9_d153_5ce3_b396, 694),
    (0xfb9b_7cd9_a4a7_443c, 720),
    (0xbb76_4c4c_a7a4_4410, 747),
    (0x8bab_8eef_b640_9c1a, 774),
    (0xd01f_ef10_a657_842c, 800),
    (0x9b10_a4e5_e991_3129, 827),
    (0xe710_9bfb_a19c_0c9d, 853),
    (0xac28_20d9_623b_f429, 880),
    (0x8044_4b5e_7aa7_cf85, 907),
    (0xbf21_e440_03ac_dd2d, 933),
    (0x8e67_9c2f_5e44_ff8f, 960),
    (0xd433_179d_9c8c_b841, 986),
    (0x9e19_db92_b4e3_1ba9, 1013),
    (0xeb96_bf6e_badf_77d9, 1039),
    (0xaf87_023b_9bf0_ee6b, 1066),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let (digits, len, exp) = digits(value);
        format!("{}e{exp}", String::from_utf8_lossy(&digits[..len]))
    }

    #[test]
    fn digits_read_back_the_same() {
        let mut state = 3u64;
        for _ in 0..200_000 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let value = f64::from_bits((state ^ state >> 29) & !(1 << 63));
            if value.is_finite() && value > 0.0 {
                assert_eq!(text(value).parse(), Ok(value));
            }
        }
        for value in [
            5e-324,
            f64::MIN_POSITIVE,
            f64::MAX,
            1.0,
            0.1,
            4503599627370496.0,
        ] {
            assert_eq!(text(value).parse(), Ok(value));
        }
    }

    #[test]
    #[allow(
        clippy::excessive_precision,
        reason = "the digit that is one too many is what this is about"
    )]
    fn some_numbers_get_a_digit_more_than_the_shortest_as_in_the_real_server() {
        for (value, want) in [
            (56.080090980493154, "56080090980493154e-15"),
            (39.634721244576824, "39634721244576824e-15"),
            (154.43658202886581, "15443658202886581e-14"),
            (0.1, "1e-1"),
            (13.361389338970184, "13361389338970184e-15"),
        ] {
            assert_eq!(text(value), want);
        }
    }
}
