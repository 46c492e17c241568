//! Searches for places around one, and the older commands that do the same.

use super::{
    READS_KEY, UNITS, hash_of, place_arg, place_of, reply_distance, reply_place, unit_arg,
};
use crate::command::ctx::int_arg;
use crate::command::spec::{
    Arg, ArgKind, BeginSearch, Categories, FindKeys, Flags, Group, KeyFlags, KeySpec, Spec,
};
use crate::command::zset::{count_more, limits, range::store_result};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::ZSet;
use crate::resp::Args;
use crate::state::keys::Access;
use crate::types::decimal::parse_double;
use crate::types::geo::{Place, Shape};
use crate::types::partial_sort::partial_sort;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    GEOSEARCH,
    GEOSEARCHSTORE,
    GEORADIUS,
    GEORADIUS_RO,
    GEORADIUSBYMEMBER,
    GEORADIUSBYMEMBER_RO,
];

const LONGITUDE: Arg = Arg::new("longitude", ArgKind::Double);
const LATITUDE: Arg = Arg::new("latitude", ArgKind::Double);
const RADIUS: Arg = Arg::new("radius", ArgKind::Double);
const UNIT: Arg = Arg::one_of("unit", UNITS);
const ORDER: Arg = Arg::one_of(
    "order",
    &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")],
)
.optional();
const WITHCOORD: Arg = Arg::word("withcoord", "WITHCOORD").optional();
const WITHDIST: Arg = Arg::word("withdist", "WITHDIST").optional();
const WITHHASH: Arg = Arg::word("withhash", "WITHHASH").optional();
/// How many results, of the older commands.
const COUNT_SINCE: Arg = Arg::block(
    "count-block",
    &[
        Arg::new("count", ArgKind::Integer).token("COUNT"),
        Arg::word("any", "ANY").since("6.2.0").optional(),
    ],
)
.optional();
/// How many results.
const COUNT: Arg = Arg::block(
    "count-block",
    &[
        Arg::new("count", ArgKind::Integer).token("COUNT"),
        Arg::word("any", "ANY").optional(),
    ],
)
.optional();
/// The middle of a search.
/// Where what is found is kept instead of replied.
const STORE: Arg = Arg::one_of(
    "store",
    &[
        Arg::key("storekey", 1).token("STORE").display("key"),
        Arg::key("storedistkey", 2)
            .token("STOREDIST")
            .display("key"),
    ],
)
.optional();

const FROM: Arg = Arg::one_of(
    "from",
    &[
        Arg::new("member", ArgKind::String).token("FROMMEMBER"),
        Arg::block("fromlonlat", &[LONGITUDE, LATITUDE]).token("FROMLONLAT"),
    ],
);
/// The shape of a search.
const BY: Arg = Arg::one_of(
    "by",
    &[
        Arg::block("circle", &[RADIUS.token("BYRADIUS"), UNIT]),
        Arg::block(
            "box",
            &[
                Arg::new("width", ArgKind::Double).token("BYBOX"),
                Arg::new("height", ArgKind::Double),
                UNIT,
            ],
        ),
    ],
);

/// A key behind the word STORE or STOREDIST.
const fn stored_at(keyword: &'static str, start_from: i32) -> KeySpec {
    KeySpec {
        flags: KeyFlags::OW.or(KeyFlags::UPDATE).or(KeyFlags::INCOMPLETE),
        begin: BeginSearch::Keyword {
            keyword,
            start_from,
        },
        find: FindKeys::Range {
            last_key: 0,
            step: 1,
            limit: 0,
        },
    }
}

/// The commands that search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Search,
    SearchStore,
    /// GEORADIUS.
    Radius {
        may_store: bool,
    },
    /// GEORADIUSBYMEMBER.
    ByMember {
        may_store: bool,
    },
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(
            self,
            Form::Radius { may_store: true } | Form::ByMember { may_store: true }
        )
    }
}

/// How results are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// A search as it is asked for.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// `None` until it is known, and when the key it depends on is not there.
    center: Option<Place>,
    shape: Option<Shape>,
    /// Metres of the unit that distances are given in.
    unit: f64,
    has_center: bool,
    order: Option<Order>,
    /// Zero for all.
    count: usize,
    any: bool,
    with_coord: bool,
    with_dist: bool,
    with_hash: bool,
    /// The argument with the key that the result goes to.
    store: Option<usize>,
    stores_distances: bool,
}

/// A number that is a distance, at argument `index`.
fn metres_arg(args: Args<'_>, index: usize, error: &'static str) -> Result<f64, CommandError> {
    parse_double(args.bytes(index)).ok_or(CommandError::text(error))
}

impl Request {
    fn parse(args: Args<'_>, form: Form, zset: Option<&ZSet>) -> Result<Request, CommandError> {
        let mut request = Request {
            center: None,
            shape: None,
            unit: 1.0,
            has_center: false,
            order: None,
            count: 0,
            any: false,
            with_coord: false,
            with_dist: false,
            with_hash: false,
            store: (form == Form::SearchStore).then_some(1),
            stores_distances: false,
        };
        let first = match form {
            Form::Search => 2,
            Form::SearchStore => 3,
            Form::Radius { .. } => {
                request.center = Some(place_arg(args, 2)?);
                request.take_circle(args, 4)?;
                6
            }
            Form::ByMember { .. } => {
                // Without a key the rest is read all the same, for it says how to answer.
                if zset.is_some() {
                    request.take_member(args, 2, zset)?;
                    request.take_circle(args, 3)?;
                }
                5
            }
        };
        request.parse_options(args, first, form, zset)?;
        request.check(args, form)?;
        Ok(request)
    }

    fn take_member(
        &mut self,
        args: Args<'_>,
        index: usize,
        zset: Option<&ZSet>,
    ) -> Result<(), CommandError> {
        if let Some(zset) = zset {
            let place = place_of(zset, args.bytes(index));
            self.center = Some(place.ok_or(CommandError::text(
                "ERR could not decode requested zset member",
            ))?);
        }
        Ok(())
    }

    fn take_circle(&mut self, args: Args<'_>, index: usize) -> Result<(), CommandError> {
        let radius = metres_arg(args, index, "ERR need numeric radius")?;
        if radius < 0.0 {
            return Err(CommandError::text("ERR radius cannot be negative"));
        }
        self.unit = unit_arg(args, index + 1)?;
        self.shape = Some(Shape::Circle {
            radius_m: radius * self.unit,
        });
        Ok(())
    }

    fn take_box(&mut self, args: Args<'_>, index: usize) -> Result<(), CommandError> {
        let width = metres_arg(args, index, "ERR need numeric width")?;
        let height = metres_arg(args, index + 1, "ERR need numeric height")?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::text("ERR height or width cannot be negative"));
        }
        self.unit = unit_arg(args, index + 2)?;
        self.shape = Some(Shape::Box {
            width_m: width * self.unit,
            height_m: height * self.unit,
        });
        Ok(())
    }

    fn parse_options(
        &mut self,
        args: Args<'_>,
        first: usize,
        form: Form,
        zset: Option<&ZSet>,
    ) -> Result<(), CommandError> {
        let is_search = form.is_search();
        let (mut from_member, mut from_place) = (false, false);
        let mut index = first;
        while index < args.len() {
            let behind = args.len() - index - 1;
            let is_box = matches!(self.shape, Some(Shape::Box { .. }));
            let is_circle = matches!(self.shape, Some(Shape::Circle { .. }));
            if args.is(index, "WITHDIST") {
                self.with_dist = true;
            } else if args.is(index, "WITHHASH") {
                self.with_hash = true;
            } else if args.is(index, "WITHCOORD") {
                self.with_coord = true;
            } else if args.is(index, "ANY") {
                self.any = true;
            } else if args.is(index, "ASC") {
                self.order = Some(Order::Ascending);
            } else if args.is(index, "DESC") {
                self.order = Some(Order::Descending);
            } else if args.is(index, "COUNT") && behind >= 1 {
                let count = int_arg(args, index + 1)?;
                self.count = usize::try_from(count).unwrap_or(0);
                if self.count == 0 {
                    return Err(CommandError::text("ERR COUNT must be > 0"));
                }
                index += 1;
            } else if form.may_store() && args.is(index, "STORE") && behind >= 1 {
                self.store = Some(index + 1);
                self.stores_distances = false;
                index += 1;
            } else if form.may_store() && args.is(index, "STOREDIST") && behind >= 1 {
                self.store = Some(index + 1);
                self.stores_distances = true;
                index += 1;
            } else if is_search && args.is(index, "FROMMEMBER") && behind >= 1 && !from_place {
                self.take_member(args, index + 1, zset)?;
                from_member = true;
                index += 1;
            } else if is_search && args.is(index, "FROMLONLAT") && behind >= 2 && !from_member {
                self.center = Some(place_arg(args, index + 1)?);
                from_place = true;
                index += 2;
            } else if is_search && args.is(index, "BYRADIUS") && behind >= 2 && !is_box {
                self.take_circle(args, index + 1)?;
                index += 2;
            } else if is_search && args.is(index, "BYBOX") && behind >= 3 && !is_circle {
                self.take_box(args, index + 1)?;
                index += 3;
            } else if form == Form::SearchStore && args.is(index, "STOREDIST") {
                self.stores_distances = true;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        self.has_center = from_member || from_place;
        Ok(())
    }

    fn check(&self, args: Args<'_>, form: Form) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_dist || self.with_hash || self.with_coord) {
            let what = match form {
                Form::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(CommandError::text(format!(
                "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let lacks = |what: &str| {
            let what = format!("ERR exactly one of {what} can be specified for ");
            Err(CommandError::quoting(&what, args.bytes(0), ""))
        };
        if form.is_search() && !self.has_center {
            return lacks("FROMMEMBER or FROMLONLAT");
        }
        if form.is_search() && self.shape.is_none() {
            return lacks("BYRADIUS and BYBOX");
        }
        if self.any && self.count == 0 {
            return Err(CommandError::text(
                "ERR the ANY argument requires COUNT argument",
            ));
        }
        Ok(())
    }

    /// What is found, in the order asked for.
    fn run(&self, zset: &ZSet) -> Vec<Found> {
        let (Some(center), Some(shape)) = (self.center, self.shape) else {
            return Vec::new();
        };
        let enough = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        'ranges: for (first, end) in shape.hash_ranges(center) {
            let (first, end) = (first as f64, end as f64);
            let from = zset.count_scores(first, false);
            for (item, score) in zset.range(from, usize::MAX, false) {
                if score >= end {
                    break;
                }
                let place = Place::from_hash(hash_of(score));
                if let Some(distance) = shape.distance_within(center, place) {
                    found.push(Found {
                        name: item.to_vec(),
                        score,
                        place,
                        distance,
                    });
                    if found.len() >= enough {
                        break 'ranges;
                    }
                }
            }
        }
        // The nearest are meant when a number is given and nothing else.
        let nearest = (self.count > 0 && !self.any).then_some(Order::Ascending);
        let count = if self.count > 0 {
            self.count
        } else {
            usize::MAX
        };
        if let Some(order) = self.order.or(nearest) {
            let mut compare = |a: &Found, b: &Found| match order {
                Order::Ascending => a.distance.total_cmp(&b.distance),
                Order::Descending => b.distance.total_cmp(&a.distance),
            };
            // Which of several at the same distance are among the first depends on the algorithm.
            if count < found.len() {
                partial_sort(&mut found, count, &mut compare);
            } else {
                found.sort_by(compare);
            }
        }
        found.truncate(count);
        found
    }
}

/// A member within the shape.
struct Found {
    name: Vec<u8>,
    score: f64,
    place: Place,
    /// In metres.
    distance: f64,
}

fn search(ctx: &mut Ctx<'_>, args: Args<'_>, form: Form) -> Result<(), CommandError> {
    let source = if form == Form::SearchStore { 2 } else { 1 };
    let key = ctx.key(args, source);
    let dbid = ctx.client.dbid;
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Read)?;
    let request = Request::parse(args, form, zset.as_deref())?;
    let found = zset.map_or(Vec::new(), |zset| request.run(zset));
    if let Some(target) = request.store {
        let elements = found.iter().map(|found| {
            let distance = found.distance / request.unit;
            let score = if request.stores_distances {
                distance
            } else {
                found.score
            };
            (&found.name[..], score)
        });
        let zset = ZSet::from_elements(elements, &limits(ctx.server));
        count_more(ctx, found.len());
        let event = if form.is_search() {
            "geosearchstore"
        } else {
            "georadiusstore"
        };
        let target = ctx.key(args, target);
        store_result(ctx, target, Some(zset), event);
        return Ok(());
    }
    let reply = &mut ctx.client.reply;
    let extras = [request.with_dist, request.with_hash, request.with_coord];
    let extras = extras.iter().filter(|on| **on).count();
    reply.array(found.len());
    for one in &found {
        if reply.is_cut() {
            break;
        }
        if extras > 0 {
            reply.array(extras + 1);
        }
        reply.bulk(&one.name);
        if request.with_dist {
            reply_distance(reply, one.distance / request.unit);
        }
        if request.with_hash {
            reply.int(one.score as i64);
        }
        if request.with_coord {
            reply_place(reply, one.place);
        }
    }
    Ok(())
}

pub const GEOSEARCH: Spec = Spec {
    name: "geosearch",
    arity: -7,
    flags: Flags::READONLY,
    acl: Categories::GEO,
    group: Group::Geo,
    since: "6.2.0",
    summary: "Returns the members within a circle or a box around a place or a member.",
    complexity: Some("O(N+log(M))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        FROM,
        BY,
        ORDER,
        COUNT,
        WITHCOORD,
        WITHDIST,
        WITHHASH,
    ],
    history: &[("7.0.0", &[])],
    handler: geosearch,
    ..Spec::DEFAULT
};

/// `GEOSEARCH key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius unit | BYBOX width height unit>
/// [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`
fn geosearch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Form::Search)
}

pub const GEOSEARCHSTORE: Spec = Spec {
    name: "geosearchstore",
    arity: -8,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::GEO,
    group: Group::Geo,
    since: "6.2.0",
    summary: "Stores the members within a circle or a box around a place or a member.",
    complexity: Some("O(N+log(M))"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::key("destination", 0),
        Arg::key("source", 1),
        FROM,
        BY,
        ORDER,
        COUNT,
        Arg::word("storedist", "STOREDIST").optional(),
    ],
    history: &[("7.0.0", &[])],
    handler: geosearchstore,
    ..Spec::DEFAULT
};

/// `GEOSEARCHSTORE destination source` and what GEOSEARCH takes behind its key, with STOREDIST in place of the WITHs
fn geosearchstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Form::SearchStore)
}

pub const GEORADIUS: Spec = Spec {
    name: "georadius",
    arity: -6,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    summary: "Returns or stores the members within a distance of a place.",
    complexity: Some("O(N+log(M))"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS)),
        stored_at("STORE", 6),
        stored_at("STOREDIST", 6),
    ],
    args: &[
        Arg::key("key", 0),
        LONGITUDE,
        LATITUDE,
        RADIUS,
        UNIT,
        WITHCOORD,
        WITHDIST,
        WITHHASH,
        COUNT_SINCE,
        ORDER,
        STORE,
    ],
    history: &[("6.2.0", &["ANY", "COUNT"]), ("7.0.0", &[])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`GEOSEARCH` or `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    handler: georadius,
    ..Spec::DEFAULT
};

/// `GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key | STOREDIST key]`
fn georadius(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Form::Radius { may_store: true })
}

pub const GEORADIUS_RO: Spec = Spec {
    name: "georadius_ro",
    arity: -6,
    flags: Flags::READONLY,
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.10",
    summary: "Returns the members within a distance of a place.",
    complexity: Some("O(N+log(M))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        LONGITUDE,
        LATITUDE,
        RADIUS,
        UNIT,
        WITHCOORD,
        WITHDIST,
        WITHHASH,
        COUNT_SINCE,
        ORDER,
    ],
    history: &[("6.2.0", &["ANY", "COUNT"]), ("7.0.0", &[])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`GEOSEARCH` with the `BYRADIUS` argument"),
    handler: georadius_ro,
    ..Spec::DEFAULT
};

/// `GEORADIUS_RO key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]`
fn georadius_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Form::Radius { may_store: false })
}

pub const GEORADIUSBYMEMBER: Spec = Spec {
    name: "georadiusbymember",
    arity: -5,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.0",
    summary: "Returns or stores the members within a distance of another.",
    complexity: Some("O(N+log(M))"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS)),
        stored_at("STORE", 5),
        stored_at("STOREDIST", 5),
    ],
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String),
        RADIUS,
        UNIT,
        WITHCOORD,
        WITHDIST,
        WITHHASH,
        COUNT,
        ORDER,
        STORE,
    ],
    history: &[("6.2.0", &["ANY", "COUNT"]), ("7.0.0", &[])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`GEOSEARCH` or `GEOSEARCHSTORE` with the `BYRADIUS`, `FROMMEMBER` argument"),
    handler: georadiusbymember,
    ..Spec::DEFAULT
};

/// `GEORADIUSBYMEMBER key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key | STOREDIST key]`
fn georadiusbymember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Form::ByMember { may_store: true })
}

pub const GEORADIUSBYMEMBER_RO: Spec = Spec {
    name: "georadiusbymember_ro",
    arity: -5,
    flags: Flags::READONLY,
    acl: Categories::GEO,
    group: Group::Geo,
    since: "3.2.10",
    summary: "Returns the members within a distance of another.",
    complexity: Some("O(N+log(M))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String),
        RADIUS,
        UNIT,
        WITHCOORD,
        WITHDIST,
        WITHHASH,
        COUNT,
        ORDER,
    ],
    history: &[("6.2.0", &["ANY", "COUNT"]), ("7.0.0", &[])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`GEOSEARCH` with the `BYRADIUS`, `FROMMEMBER` argument"),
    handler: georadiusbymember_ro,
    ..Spec::DEFAULT
};

/// `GEORADIUSBYMEMBER_RO key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]`
fn georadiusbymember_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    search(ctx, args, Form::ByMember { may_store: false })
}
