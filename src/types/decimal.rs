//! Decimal: numbers as commands and packed encodings read them.

/// A canonical decimal integer: optional minus, no plus, no leading zeros, no spaces, within 64 bits.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    let mut value: u64 = 0;
    for digit in digits {
        let d = digit.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(d))?;
    }
    if negative {
        (value <= 1 << 63).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// A number of 64 bits without sign. What is not canonical is read as C's `strtoull` reads it: blanks, a sign and
/// leading zeros are let pass, and a minus behind blanks turns the number around.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(value) = parse_i64(text) {
        return u64::try_from(value).ok();
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let (is_negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit.into())?;
    }
    Some(if is_negative {
        value.wrapping_neg()
    } else {
        value
    })
}

/// A number as commands take it: decimal or hexadecimal (`0x1.8p3`), or `inf`, in any case and with a sign. Blanks
/// around it and NaN are refused, and so is what is too large for a double or too small to differ from zero.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let unsigned = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    if let [b'0', b'x' | b'X', digits @ ..] = unsigned {
        let value = parse_hex_double(digits)?;
        return Some(if text[0] == b'-' { -value } else { value });
    }
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let starts_with_digits = matches!(unsigned.first(), Some(b'0'..=b'9' | b'.'));
    if value.is_nan() || (value.is_infinite() && starts_with_digits) {
        return None;
    }
    if value == 0.0 {
        let mantissa = unsigned
            .iter()
            .take_while(|byte| !matches!(byte, b'e' | b'E'));
        if mantissa.clone().any(|byte| matches!(byte, b'1'..=b'9')) {
            return None;
        }
    }
    Some(value)
}

/// The digits of a hexadecimal number behind its `0x`.
fn parse_hex_double(text: &[u8]) -> Option<f64> {
    let exponent_at = text.iter().position(|byte| matches!(byte, b'p' | b'P'));
    let (mantissa, exponent) = match exponent_at {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    // 60 bits are more than a double keeps; of digits beyond, only whether one is not zero can matter.
    let (mut bits, mut scale, mut digits, mut is_behind_point) = (0u64, 0i64, 0, false);
    for byte in mantissa {
        if *byte == b'.' && !is_behind_point {
            is_behind_point = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        digits += 1;
        if bits >> 60 == 0 {
            bits = bits << 4 | u64::from(digit);
            scale -= if is_behind_point { 4 } else { 0 };
        } else {
            bits |= u64::from(digit != 0);
            scale += if is_behind_point { 0 } else { 4 };
        }
    }
    if digits == 0 {
        return None;
    }
    if bits == 0 {
        return Some(0.0);
    }
    // Two steps, so that neither factor leaves the range when the product does not.
    let scale = scale.saturating_add(exponent).clamp(-4000, 4000) as i32;
    let half = scale / 2;
    let value = bits as f64 * 2f64.powi(half) * 2f64.powi(scale - half);
    (value != 0.0 && value.is_finite()).then_some(value)
}

/// A decimal exponent with an optional sign; far beyond what matters it is cut off.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = char::from(*byte).to_digit(10)?;
        value = (value * 10 + i64::from(digit)).min(1 << 40);
    }
    Some(if negative { -value } else { value })
}

/// A double with 17 significant digits, as C's `%.17g` prints it.
pub fn format_g17(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        return trim_zeros(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs())
}

/// Text of a number without the zeros at the end of its fraction.
pub fn trim_zeros(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_parse_as_the_real_server_parses_them() {
        for (text, want) in [
            ("0x10", Some(16.0)),
            ("-0x1.8p1", Some(-3.0)),
            ("0x1p-3", Some(0.125)),
            ("0x", None),
            ("0x0p99999", Some(0.0)),
            ("0x1p2000", None),
            ("0x1p-2000", None),
            (" 1", None),
            ("1 ", None),
            ("+1", Some(1.0)),
            ("infinity", Some(f64::INFINITY)),
            ("-INF", Some(f64::NEG_INFINITY)),
            ("infi", None),
            ("nan", None),
            ("", None),
            (".", None),
            ("1.", Some(1.0)),
            (".5", Some(0.5)),
            ("1e", None),
            ("1e400", None),
            ("1e-400", None),
            ("1e-310", Some(1e-310)),
            ("0e500", Some(0.0)),
        ] {
            assert_eq!(parse_double(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn seventeen_digits() {
        for (value, want) in [
            (1.0, "1"),
            (0.1, "0.10000000000000001"),
            (1e17, "1e+17"),
            (12345678901234567.0, "12345678901234568"),
            (1e-5, "1.0000000000000001e-05"),
            (-0.0, "-0"),
            (1.5e300, "1.5000000000000001e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(format_g17(value), want);
        }
    }
}
