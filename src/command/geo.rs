//! Geo commands: places kept as members of sorted sets, whose scores are the places' hashes.
//!
//! Lives here: adding and asking for places. Searches have a file of their own. May not: the arithmetic (`types::geo`).

pub mod search;

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::zset::{AddOptions, add_pairs};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::ZSet;
use crate::resp::{Args, Reply};
use crate::state::keys::Access;
use crate::types::decimal::parse_double;
use crate::types::geo::Place;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[GEOADD, GEOPOS, GEODIST, GEOHASH];

const READS_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))];
/// Units of distances.
const UNITS: &[Arg] = &[
    Arg::word("m", "M"),
    Arg::word("km", "KM"),
    Arg::word("ft", "FT"),
    Arg::word("mi", "MI"),
];

/// The metres of the unit at argument `index`.
fn unit_arg(args: Args<'_>, index: usize) -> Result<f64, CommandError> {
    [("M", 1.0), ("KM", 1000.0), ("FT", 0.3048), ("MI", 1609.34)]
        .into_iter()
        .find(|(word, _)| args.is(index, word))
        .map(|(_, metres)| metres)
        .ok_or(CommandError::text(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        ))
}

/// The place whose longitude and latitude are the arguments from `index` on.
fn place_arg(args: Args<'_>, index: usize) -> Result<Place, CommandError> {
    let lon = parse_double(args.bytes(index)).ok_or(CommandError::NotFloat)?;
    let lat = parse_double(args.bytes(index + 1)).ok_or(CommandError::NotFloat)?;
    Place::new(lon, lat).ok_or_else(|| {
        CommandError::text(format!(
            "ERR invalid longitude,latitude pair {lon:.6},{lat:.6}"
        ))
    })
}

/// The hash that a score stands for.
fn hash_of(score: f64) -> u64 {
    // Scores that are no hashes wrap around as they do in the real server.
    if score < 0.0 {
        score as i64 as u64
    } else {
        score as u64
    }
}

/// Where a member is.
fn place_of(zset: &ZSet, member: &[u8]) -> Option<Place> {
    zset.score(member)
        .map(|score| Place::from_hash(hash_of(score)))
}

/// Longitude and latitude.
fn reply_place(reply: &mut Reply, place: Place) {
    reply.array(2);
    reply.double(place.lon);
    reply.double(place.lat);
}

/// A distance with four digits behind the point.
fn reply_distance(reply: &mut Reply, distance: f64) {
    let scaled = (distance * 10_000.0).round_ties_even() as i64;
    let (whole, fraction) = (scaled / 10_000, scaled % 10_000);
    reply.text(&format!("{whole}.{fraction:04}"));
}

pub const GEOADD: Spec = Spec {
    name: "geoadd",
    arity: -5,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    summary: "Adds members at places, or moves members that are there.",
    complexity: Some("O(log(N))"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")])
            .since("6.2.0")
            .optional(),
        Arg::word("change", "CH").since("6.2.0").optional(),
        Arg::block(
            "data",
            &[
                Arg::new("longitude", ArgKind::Double),
                Arg::new("latitude", ArgKind::Double),
                Arg::new("member", ArgKind::String),
            ],
        )
        .multiple(),
    ],
    history: &[("6.2.0", &["CH", "NX", "XX"])],
    handler: geoadd,
    ..Spec::DEFAULT
};

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
fn geoadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut options = AddOptions::default();
    let mut index = 2;
    loop {
        if args.is(index, "NX") {
            options.only_new = true;
        } else if args.is(index, "XX") {
            options.only_present = true;
        } else if args.is(index, "CH") {
            options.counts_changed = true;
        } else {
            break;
        }
        index += 1;
    }
    let rest = args.len() - index;
    if rest == 0 || !rest.is_multiple_of(3) || (options.only_new && options.only_present) {
        return Err(CommandError::Syntax);
    }
    let mut pairs = Vec::with_capacity(rest / 3);
    for at in (index..args.len()).step_by(3) {
        let place = place_arg(args, at)?;
        pairs.push((args.bytes(at + 2), place.hash()));
    }
    let dirty_before = ctx.server.effects.dirty;
    let key = ctx.key(args, 1);
    let scored = pairs.iter().map(|(member, hash)| (*member, *hash as f64));
    add_pairs(ctx, key, scored, options)?;
    if ctx.server.effects.propagating() && ctx.server.effects.dirty != dirty_before {
        let scores: Vec<String> = pairs.iter().map(|(_, hash)| hash.to_string()).collect();
        let mut argv: Vec<&[u8]> = vec![b"ZADD"];
        argv.extend((1..index).map(|at| args.bytes(at)));
        for ((member, _), score) in pairs.iter().zip(&scores) {
            argv.push(score.as_bytes());
            argv.push(member);
        }
        ctx.propagate(&argv);
    }
    Ok(())
}

pub const GEOPOS: Spec = Spec {
    name: "geopos",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    summary: "Returns the longitudes and latitudes of members.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).optional().multiple(),
    ],
    handler: geopos,
    ..Spec::DEFAULT
};

/// `GEOPOS key [member [member ...]]`
fn geopos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    each_place(ctx, args, |reply, place| match place {
        Some(place) => reply_place(reply, place),
        None => reply.null_array(),
    })
}

pub const GEOHASH: Spec = Spec {
    name: "geohash",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    summary: "Returns the places of members as geohash strings.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).optional().multiple(),
    ],
    handler: geohash,
    ..Spec::DEFAULT
};

/// `GEOHASH key [member [member ...]]`
fn geohash(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    each_place(ctx, args, |reply, place| match place {
        Some(place) => reply.bulk(&place.letters()),
        None => reply.null(),
    })
}

/// Replies with an array of what `write` makes of the place of each member from argument 2 on.
fn each_place(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    write: impl Fn(&mut Reply, Option<Place>),
) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - 2);
    for member in args.iter_from(2) {
        let place = zset.as_ref().and_then(|zset| place_of(zset, member));
        write(reply, place);
    }
    Ok(())
}

pub const GEODIST: Spec = Spec {
    name: "geodist",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    summary: "Returns the distance between two members.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member1", ArgKind::String),
        Arg::new("member2", ArgKind::String),
        Arg::one_of("unit", UNITS).optional(),
    ],
    handler: geodist,
    ..Spec::DEFAULT
};

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
fn geodist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let unit = match args.len() {
        4 => 1.0,
        5 => unit_arg(args, 4)?,
        _ => return Err(CommandError::Syntax),
    };
    let key = ctx.key(args, 1);
    let places = ctx.object::<ZSet>(key, Access::Read)?.and_then(|zset| {
        let from = place_of(zset, args.bytes(2))?;
        Some((from, place_of(zset, args.bytes(3))?))
    });
    let reply = &mut ctx.client.reply;
    match places {
        Some((from, to)) => reply_distance(reply, from.distance(to) / unit),
        None => reply.null(),
    }
    Ok(())
}
