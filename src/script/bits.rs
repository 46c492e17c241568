//! Bits: the library `bit`, arithmetic on 32 bits with Lua's numbers.
//!
//! A number is taken modulo 2^32 and a result is the signed number with these bits; shifts count modulo 32.

use std::rc::Rc;

use mlua::{IntoLua, Lua, Table, Value};

use crate::script::host::{Arguments, Host, Raise};

/// The library.
pub fn library(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    type Unary = fn(i32) -> i32;
    let unary: [(&str, Unary); 3] = [
        ("tobit", |bits| bits),
        ("bnot", |bits| !bits),
        ("bswap", i32::swap_bytes),
    ];
    for (name, operation) in unary {
        let function =
            move |lua: &Lua, args: &Arguments| Ok(number(operation(bits(lua, args, 1)?)));
        table.raw_set(name, host.function(lua, function)?)?;
    }
    type Binary = fn(i32, i32) -> i32;
    let folds: [(&str, Binary); 3] = [
        ("band", |a, b| a & b),
        ("bor", |a, b| a | b),
        ("bxor", |a, b| a ^ b),
    ];
    for (name, operation) in folds {
        let function = move |lua: &Lua, args: &Arguments| {
            let mut result = bits(lua, args, 1)?;
            for index in 2..=args.len() {
                result = operation(result, bits(lua, args, index)?);
            }
            Ok(number(result))
        };
        table.raw_set(name, host.function(lua, function)?)?;
    }
    type Shift = fn(i32, u32) -> i32;
    let shifts: [(&str, Shift); 5] = [
        ("lshift", |bits, by| bits << by),
        ("rshift", |bits, by| (bits as u32 >> by) as i32),
        ("arshift", |bits, by| bits >> by),
        ("rol", i32::rotate_left),
        ("ror", i32::rotate_right),
    ];
    for (name, operation) in shifts {
        let function = move |lua: &Lua, args: &Arguments| {
            let by = bits(lua, args, 2)? as u32 & 31;
            Ok(number(operation(bits(lua, args, 1)?, by)))
        };
        table.raw_set(name, host.function(lua, function)?)?;
    }
    table.raw_set("tohex", host.function(lua, tohex)?)?;
    Ok(table)
}

fn number(bits: i32) -> Value {
    Value::Integer(bits.into())
}

/// The low 32 bits of the argument, rounded to a whole number as adding 2^52 + 2^51 does.
fn bits(lua: &Lua, args: &Arguments, index: usize) -> Result<i32, Raise> {
    const ROUNDER: f64 = 6_755_399_441_055_744.0;
    let sum = args.number(lua, index)? + ROUNDER;
    Ok(sum.to_bits() as i32)
}

fn tohex(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    let bits = bits(lua, args, 1)? as u32;
    let digits = match args.get(2) {
        Value::Nil if args.len() < 2 => 8,
        _ => self::bits(lua, args, 2)?,
    };
    let all = match digits < 0 {
        true => format!("{bits:08X}"),
        false => format!("{bits:08x}"),
    };
    let shown = (digits.unsigned_abs() as usize).min(8);
    Ok(all[8 - shown..].into_lua(lua)?)
}
