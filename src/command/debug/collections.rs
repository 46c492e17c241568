//! DEBUG's looks into collections: what their nodes and blocks hold.

use super::switch;
use crate::border::LogLevel;
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::ObjectRef;
use crate::resp::Args;
use crate::state::keys::Access;
use crate::types::listpack::{Item, Listpack};
use crate::types::quicklist::{NodeRef, Quicklist};

/// What DEBUG OBJECT says of a value beyond what it says of all.
pub(super) fn extra(object: ObjectRef<'_>) -> String {
    let Some(list) = quicklist_of(Some(object)) else {
        return String::new();
    };
    format!(
        " ql_nodes:{} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
        list.node_count(),
        list.len() as f64 / list.node_count() as f64,
        list.fill().number(),
        u8::from(list.depth() > 0),
        list.raw_len(),
    )
}

/// `DEBUG LISTPACK key`.
pub(super) fn listpack(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let packed = match object(ctx, args)? {
        Some(ObjectRef::List(list)) => list.listpack(),
        Some(ObjectRef::Hash(hash)) => hash.packed().map(|(list, _)| list),
        _ => None,
    };
    let text = packed
        .map(describe_listpack)
        .ok_or(CommandError::text("ERR Not a listpack encoded object."))?;
    ctx.server.log(LogLevel::Warning, text);
    ctx.client
        .reply
        .simple("Listpack structure printed on stdout");
    Ok(())
}

/// `DEBUG QUICKLIST key [0|1]`.
pub(super) fn quicklist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_full = switch(args, 3);
    let text = quicklist_of(object(ctx, args)?)
        .map(|list| describe_quicklist(list, is_full))
        .ok_or(CommandError::text("ERR Not a quicklist encoded object."))?;
    ctx.server.log(LogLevel::Warning, text);
    ctx.client
        .reply
        .simple("Quicklist structure printed on stdout");
    Ok(())
}

fn quicklist_of(object: Option<ObjectRef<'_>>) -> Option<&Quicklist> {
    match object? {
        ObjectRef::List(list) => list.quicklist(),
        _ => None,
    }
}

fn object<'a>(ctx: &'a mut Ctx<'_>, args: Args<'_>) -> Result<Option<ObjectRef<'a>>, CommandError> {
    let key = ctx.key(args, 2);
    let entry = ctx.lookup(key, Access::Peek);
    Ok(entry.ok_or(CommandError::NoSuchKey)?.object())
}

fn describe_listpack(list: &Listpack) -> String {
    let mut text = format!(
        "{{total bytes {}}} {{num entries {}}}",
        list.byte_len(),
        list.len()
    );
    for (index, pos) in list.positions().enumerate() {
        let place = format!("\n{{index {index}, offset {}}} ", pos.byte());
        text.push_str(&place);
        match list.get(pos) {
            Item::Int(value) => text.push_str(&format!("integer {value}")),
            Item::Str(bytes) => text.push_str(&format!("string \"{}\"", bytes.escape_ascii())),
        }
    }
    text
}

fn describe_quicklist(list: &Quicklist, is_full: bool) -> String {
    let mut text = format!(
        "{{count: {}}} {{nodes: {}}} {{fill: {}}} {{compress: {}}}",
        list.len(),
        list.node_count(),
        list.fill().number(),
        list.depth(),
    );
    let mut index = 0;
    list.walk_nodes(0, |node| {
        let line = match node {
            NodeRef::Packed(packed) if is_full => format!("packed, {}", describe_listpack(packed)),
            NodeRef::Packed(packed) => {
                format!(
                    "packed, size: {}, count: {}",
                    packed.byte_len(),
                    packed.len()
                )
            }
            NodeRef::Plain(bytes) if is_full => format!("plain, \"{}\"", bytes.escape_ascii()),
            NodeRef::Plain(bytes) => format!("plain, size: {}", bytes.len()),
        };
        text.push_str(&format!("\nnode {index}: {line}"));
        index += 1;
        true
    });
    text
}
