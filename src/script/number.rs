//! Number: doubles read and written as C's library does, which scripts see.

use rustc_apfloat::Float;
use rustc_apfloat::ieee::Double;

/// A number at the start of a text, and how many bytes it takes.
#[derive(Debug, PartialEq)]
pub struct Strtod {
    pub value: f64,
    pub len: usize,
}

/// Reads what C's `strtod` reads, except for white space in front: a sign, then digits with a point and an exponent,
/// the same in hexadecimal, `inf`, `infinity` or `nan`.
pub fn strtod(text: &[u8]) -> Option<Strtod> {
    let sign_len = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let is_negative = text.first() == Some(&b'-');
    let signed = |value: f64| if is_negative { -value } else { value };
    let unsigned = &text[sign_len..];
    for (word, value) in [
        ("infinity", f64::INFINITY),
        ("inf", f64::INFINITY),
        ("nan", f64::NAN),
    ] {
        let head = unsigned.get(..word.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes())) {
            return Some(Strtod {
                value: signed(value),
                len: sign_len + word.len(),
            });
        }
    }
    if let [b'0', b'x' | b'X', rest @ ..] = unsigned
        && let Some((value, len)) = hexadecimal(rest)
    {
        return Some(Strtod {
            value: signed(value),
            len: sign_len + 2 + len,
        });
    }
    let len = decimal_len(unsigned)?;
    let digits = std::str::from_utf8(&unsigned[..len]).ok()?;
    Some(Strtod {
        value: signed(digits.parse().ok()?),
        len: sign_len + len,
    })
}

/// The length of the decimal number at the start.
fn decimal_len(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut len = whole;
    let mut fraction = 0;
    if text.get(len) == Some(&b'.') {
        fraction = digits(len + 1);
        len += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(text.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    Some(len)
}

/// The hexadecimal number behind `0x`, and its length.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let is_hex = |byte: &&u8| byte.is_ascii_hexdigit();
    let whole = text.iter().take_while(is_hex).count();
    let mut len = whole;
    let mut fraction = 0;
    if text.get(len) == Some(&b'.') {
        fraction = text[len + 1..].iter().take_while(is_hex).count();
        if whole + fraction > 0 {
            len += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    let mut exponent_len = 0;
    if matches!(text.get(len), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'-' | b'+')));
        let rest = text.get(len + 1 + sign..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            exponent_len = 1 + sign + digits;
        }
    }
    let number = std::str::from_utf8(&text[..len + exponent_len]).ok()?;
    let exponent = if exponent_len == 0 { "p0" } else { "" };
    let parsed = Double::from_str_r(
        &format!("0x{number}{exponent}"),
        rustc_apfloat::Round::NearestTiesToEven,
    );
    Some((
        f64::from_bits(parsed.ok()?.value.to_bits() as u64),
        len + exponent_len,
    ))
}

/// Writes a number as C's `printf` does with `%.<precision>g`.
pub fn write_general(out: &mut Vec<u8>, number: f64, precision: usize) {
    if number.is_nan() {
        let text: &[u8] = if number.is_sign_negative() {
            b"-nan"
        } else {
            b"nan"
        };
        return out.extend_from_slice(text);
    }
    if number.is_infinite() {
        let text: &[u8] = if number < 0.0 { b"-inf" } else { b"inf" };
        return out.extend_from_slice(text);
    }
    // Most numbers are small and whole, and are printed as they are.
    if number.fract() == 0.0
        && number.abs() < 10f64.powi(precision.min(15) as i32)
        && (number != 0.0 || number.is_sign_positive())
    {
        return out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    }
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, number);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        let mantissa = trim_zeros(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        let text = format!("{mantissa}e{sign}{:02}", exponent.abs());
        return out.extend_from_slice(text.as_bytes());
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{number:.decimals$}");
    out.extend_from_slice(trim_zeros(&text).as_bytes());
}

fn trim_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        for (text, value, len) in [
            ("12", 12.0, 2),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1.e3", 1000.0, 4),
            ("0x1F", 31.0, 4),
            ("0x", 0.0, 1),
            ("0x1p4", 16.0, 5),
            ("0x.8", 0.5, 4),
            ("infx", f64::INFINITY, 3),
            ("+5", 5.0, 2),
            ("1e999", f64::INFINITY, 5),
        ] {
            assert_eq!(
                strtod(text.as_bytes()),
                Some(Strtod { value, len }),
                "{text}"
            );
        }
        for text in ["", "-", "x", ".", "e5"] {
            assert_eq!(strtod(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_written_as_printf_does() {
        for (number, precision, text) in [
            (1.0 / 3.0, 14, "0.33333333333333"),
            (1e15, 14, "1e+15"),
            (12_345_678_901_234_567.0, 14, "1.2345678901235e+16"),
            (-0.0, 14, "-0"),
            (100.0, 2, "1e+02"),
            (0.0001, 14, "0.0001"),
            (0.000_01, 14, "1e-05"),
            (1e300, 14, "1e+300"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (0.1, 17, "0.10000000000000001"),
            (-2.5, 14, "-2.5"),
        ] {
            let mut out = Vec::new();
            write_general(&mut out, number, precision);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
