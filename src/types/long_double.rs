//! Long double: the 80-bit floating point numbers in which INCRBYFLOAT and its like count.
//!
//! They are x87 extended precision numbers, whatever the processor has: the same digits come out everywhere.
//! Lives here: reading, adding and printing them. May not: commands, `f64`.

use std::cmp::Ordering;

use num_bigint::BigUint;
use rustc_apfloat::ieee::{Double, X87DoubleExtended};
use rustc_apfloat::{Float, FloatConvert, Round};

/// Longest text that is read as a number.
const TEXT_MAX: usize = 5 * 1024;
/// Digits behind the point that are printed at most.
const FRACTION_DIGITS: usize = 17;
/// Ten to the power of [`FRACTION_DIGITS`].
const FRACTION_SCALE: u128 = 100_000_000_000_000_000;

/// A number; it may be infinite, but is never "not a number" when it came from a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble(X87DoubleExtended);

impl LongDouble {
    pub const ZERO: LongDouble = LongDouble(X87DoubleExtended::ZERO);

    /// The greatest finite number.
    pub fn max() -> LongDouble {
        LongDouble(X87DoubleExtended::largest())
    }

    /// An integer, exactly.
    pub fn from_i64(value: i64) -> LongDouble {
        LongDouble(X87DoubleExtended::from_i128(i128::from(value)).value)
    }

    /// Reads what C's `strtold` reads, as long as nothing is left over: decimal and hexadecimal numbers and
    /// infinity. `None` for anything else, for NaN, and for a finite number that overflows or vanishes.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (negative, digits) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let value = if is_infinity(digits) {
            X87DoubleExtended::INFINITY
        } else {
            parse_finite(digits)?
        };
        Some(LongDouble(if negative { -value } else { value }))
    }

    /// The nearest double; an infinity for what is too large for one.
    pub fn to_f64(self) -> f64 {
        let double: Double = self.0.convert_r(Round::NearestTiesToEven, &mut false).value;
        f64::from_bits(double.to_bits() as u64)
    }

    pub fn is_infinite(self) -> bool {
        self.0.is_infinite()
    }

    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The sum, rounded to nearest; NaN for infinities of different signs.
    pub fn plus(self, other: LongDouble) -> LongDouble {
        LongDouble(self.0.add_r(other.0, Round::NearestTiesToEven).value)
    }

    /// The difference, rounded to nearest.
    pub fn minus(self, other: LongDouble) -> LongDouble {
        LongDouble(self.0.sub_r(other.0, Round::NearestTiesToEven).value)
    }

    pub fn negated(self) -> LongDouble {
        LongDouble(-self.0)
    }

    /// Decimal digits with up to 17 behind the point, without zeros at the end, never with an exponent.
    pub fn to_text(self) -> String {
        let negative = self.0.is_negative();
        if !self.0.is_finite() {
            return match (self.0.is_infinite(), negative) {
                (true, false) => "inf".to_owned(),
                (true, true) => "-inf".to_owned(),
                (false, _) => "nan".to_owned(),
            };
        }
        let (whole, fraction) = split(self.0.to_bits());
        let mut out = String::new();
        if negative && (fraction != 0 || whole != "0") {
            out.push('-');
        }
        out.push_str(&whole);
        if fraction != 0 {
            let digits = format!("{fraction:0FRACTION_DIGITS$}");
            out.push('.');
            out.push_str(digits.trim_end_matches('0'));
        }
        out
    }
}

impl PartialOrd for LongDouble {
    fn partial_cmp(&self, other: &LongDouble) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

/// The whole part, and the fraction in units of 10^-17, of a finite number given by its 80 bits.
fn split(bits: u128) -> (String, u128) {
    let significand = u128::from(bits as u64);
    let biased = (bits >> 64 & 0x7fff) as i32;
    // value = significand * 2^exponent; denormals have the exponent of the smallest normal number.
    let exponent = biased.max(1) - 16383 - 63;
    if exponent > 63 {
        let whole = BigUint::from(significand) << exponent as u32;
        return (whole.to_string(), 0);
    }
    if exponent >= 0 {
        return ((significand << exponent).to_string(), 0);
    }
    let shift = exponent.unsigned_abs();
    let whole = significand.checked_shr(shift).unwrap_or(0);
    let below = if shift < 64 {
        significand & ((1 << shift) - 1)
    } else {
        significand
    };
    // 64 bits times 57 bits: this cannot overflow.
    let fraction = shift_rounding(below * FRACTION_SCALE, shift);
    // Rounding may carry into the whole part.
    let whole = whole + fraction / FRACTION_SCALE;
    (whole.to_string(), fraction % FRACTION_SCALE)
}

/// `value / 2^shift` to the nearest, ties to even.
fn shift_rounding(value: u128, shift: u32) -> u128 {
    if shift >= 128 {
        return 0;
    }
    let quotient = value >> shift;
    let rest = value & ((1 << shift) - 1);
    let half = 1u128 << (shift - 1);
    match rest.cmp(&half) {
        Ordering::Less => quotient,
        Ordering::Greater => quotient + 1,
        Ordering::Equal => quotient + (quotient & 1),
    }
}

fn is_infinity(text: &str) -> bool {
    text.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("infinity")
}

/// Reads a finite number without its sign.
fn parse_finite(text: &str) -> Option<X87DoubleExtended> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let value = match hex {
        Some(digits) => {
            let has_exponent = check_number(digits, |b| b.is_ascii_hexdigit(), *b"pP")?;
            // The reader wants the exponent that C lets one leave out.
            let exponent = if has_exponent { "" } else { "p0" };
            read(&format!("0x{digits}{exponent}"))?
        }
        None => {
            check_number(text, |b| b.is_ascii_digit(), *b"eE")?;
            read(text)?
        }
    };
    let mantissa = match hex {
        Some(digits) => digits.split(['p', 'P']).next(),
        None => text.split(['e', 'E']).next(),
    };
    let is_zero = mantissa?.bytes().all(|b| matches!(b, b'0' | b'.'));
    let is_kept = value.is_finite() && (is_zero || !value.is_zero());
    is_kept.then_some(value)
}

fn read(text: &str) -> Option<X87DoubleExtended> {
    X87DoubleExtended::from_str_r(text, Round::NearestTiesToEven)
        .ok()
        .map(|read| read.value)
}

/// Checks `digits[.digits][exponent]` with a digit somewhere before the exponent; says whether there is one.
fn check_number(text: &str, is_digit: fn(&u8) -> bool, mark: [u8; 2]) -> Option<bool> {
    let bytes = text.as_bytes();
    let split = bytes.iter().position(|b| mark.contains(b));
    let (mantissa, exponent) = match split {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    let points = mantissa.iter().filter(|b| **b == b'.').count();
    let digits = mantissa.iter().filter(|b| is_digit(b)).count();
    if digits == 0 || points > 1 || digits + points != mantissa.len() {
        return None;
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+"));
        let digits = digits.unwrap_or(exponent);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
    }
    Some(exponent.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(text: &str) -> Option<String> {
        LongDouble::parse(text.as_bytes()).map(LongDouble::to_text)
    }

    #[test]
    fn numbers_print_as_a_long_double_with_seventeen_digits() {
        let table = [
            ("3.0e3", "3000"),
            ("-0", "0"),
            ("0.1", "0.1"),
            ("1e-17", "0.00000000000000001"),
            ("4e-18", "0"),
            ("-4e-18", "0"),
            ("0x10.8", "16.5"),
            ("0X1p-1", "0.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("+7", "7"),
            ("-inF", "-inf"),
            ("0.999999999999999999999", "1"),
            ("18446744073709551615.5", "18446744073709551616"),
            ("1e30", "1000000000000000000024696061952"),
            ("1e40", "9999999999999999999783686092270256259072"),
        ];
        for (text, want) in table {
            assert_eq!(text_of(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long = "1".repeat(TEXT_MAX);
        let bad = [
            "", " 1", "1 ", ".", "e5", "1e", "1e+", "nan", "nan(1)", "0x", "0xg", "1p3", "1e5000",
            "1e-5000", "--1", "+-1", "1_0", "infi", "0x1p", "1.2.3", "１", &long,
        ];
        for text in bad {
            assert_eq!(text_of(text), None, "{text:.20}");
        }
        assert_eq!(text_of("0e5000").as_deref(), Some("0"));
    }

    #[test]
    fn sums_round_as_extended_precision_does() {
        let sum = |a: &str, b: &str| {
            let read = |text: &str| LongDouble::parse(text.as_bytes()).expect("a number");
            read(a).plus(read(b)).to_text()
        };
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("3.0e3", "200"), "3200");
        assert_eq!(sum("1e19", "0.3"), "10000000000000000000");
        assert_eq!(sum("inf", "-inf"), "nan");
    }
}
