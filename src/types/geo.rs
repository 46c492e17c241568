//! Geo: places as 52-bit hashes, distances between them, and the cells that a search has to look at.
//!
//! Lives here: the arithmetic. May not: sorted sets, units, replies.
//!
//! A place's hash interleaves the bits of its latitude (even bits) and longitude (odd bits), each scaled to 26 bits of
//! its range, so that a prefix of the hash is a cell that contains the place. The idea is Niemeyer's geohash (2008);
//! the latitudes are those that a Mercator map shows, up to 85.05 degrees. The earth is taken for a sphere: distances
//! are great circles by the haversine formula.

use std::f64::consts::PI;

/// The range of longitudes.
pub const LON_MAX: f64 = 180.0;
/// The range of latitudes.
pub const LAT_MAX: f64 = 85.05112878;
/// The range of latitudes of the geohash that other software uses.
const LAT_MAX_STANDARD: f64 = 90.0;

/// Bits of each coordinate in a full hash.
const STEP_MAX: u32 = 26;
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half of the equator on a Mercator map.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// Degrees east and north.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub lon: f64,
    pub lat: f64,
}

impl Place {
    /// A place within the ranges that hashes cover.
    pub fn new(lon: f64, lat: f64) -> Option<Place> {
        let is_covered = (-LON_MAX..=LON_MAX).contains(&lon) && (-LAT_MAX..=LAT_MAX).contains(&lat);
        is_covered.then_some(Place { lon, lat })
    }

    /// The full hash.
    pub fn hash(self) -> u64 {
        Cell::of(self, LAT_MAX, STEP_MAX).bits()
    }

    /// The middle of the smallest cell that a hash names.
    pub fn from_hash(hash: u64) -> Place {
        let area = Cell::from_bits(hash, STEP_MAX).area();
        Place {
            lon: ((area.lon.0 + area.lon.1) / 2.0).clamp(-LON_MAX, LON_MAX),
            lat: ((area.lat.0 + area.lat.1) / 2.0).clamp(-LAT_MAX, LAT_MAX),
        }
    }

    /// The eleven letters of the common geohash. 52 bits fill ten of them; the last is always the first of the
    /// alphabet.
    pub fn letters(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, LAT_MAX_STANDARD, STEP_MAX).bits();
        std::array::from_fn(|at| match at {
            10 => ALPHABET[0],
            _ => ALPHABET[(bits >> (52 - (at + 1) * 5)) as usize & 0x1f],
        })
    }

    /// Metres to another place.
    pub fn distance(self, other: Place) -> f64 {
        let v = ((radians(other.lon) - radians(self.lon)) / 2.0).sin();
        if v == 0.0 {
            return lat_distance(self.lat, other.lat);
        }
        let (lat, other_lat) = (radians(self.lat), radians(other.lat));
        let u = ((other_lat - lat) / 2.0).sin();
        let a = u * u + lat.cos() * other_lat.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

/// Metres between two latitudes on one meridian.
fn lat_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (radians(b) - radians(a)).abs()
}

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

/// Spreads the bits of a number to the even places.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Gathers the bits at the even places.
fn gather(bits: u64) -> u32 {
    let mut value = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        value = (value | value >> shift) & mask;
    }
    value as u32
}

/// A cell: coordinates of `step` bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    lat: u32,
    lon: u32,
    step: u32,
}

/// The degrees that a cell covers.
struct Area {
    lon: (f64, f64),
    lat: (f64, f64),
}

impl Cell {
    fn of(place: Place, lat_max: f64, step: u32) -> Cell {
        let scale = (1u64 << step) as f64;
        let offset = |value: f64, max: f64| ((value + max) / (max + max) * scale) as u32;
        Cell {
            lat: offset(place.lat, lat_max),
            lon: offset(place.lon, LON_MAX),
            step,
        }
    }

    fn from_bits(bits: u64, step: u32) -> Cell {
        Cell {
            lat: gather(bits),
            lon: gather(bits >> 1),
            step,
        }
    }

    fn bits(self) -> u64 {
        spread(self.lat) | spread(self.lon) << 1
    }

    fn area(self) -> Area {
        let scale = (1u64 << self.step) as f64;
        let range = |at: u32, max: f64| {
            let edge = |at: f64| -max + at / scale * (max + max);
            (edge(f64::from(at)), edge(f64::from(at) + 1.0))
        };
        Area {
            lon: range(self.lon, LON_MAX),
            lat: range(self.lat, LAT_MAX),
        }
    }

    /// The cell so many cells to the north and east; beyond an edge of the map comes the other edge.
    fn moved(self, north: i32, east: i32) -> Cell {
        let mask = (1u32 << self.step) - 1;
        let go = |at: u32, by: i32| match by {
            0 => at,
            _ => at.wrapping_add_signed(by) & mask,
        };
        Cell {
            lat: go(self.lat, north),
            lon: go(self.lon, east),
            step: self.step,
        }
    }

    /// The full hashes within the cell: the first, and the first behind.
    fn hashes(self) -> (u64, u64) {
        let shift = 2 * (STEP_MAX - self.step);
        (self.bits() << shift, (self.bits() + 1) << shift)
    }
}

/// What a search covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// All within this many metres.
    Circle { radius_m: f64 },
    /// Half of this many metres to each side.
    Box { width_m: f64, height_m: f64 },
}

impl Shape {
    /// The distance from `center`, the shape's middle, to a place within the shape.
    pub fn distance_within(self, center: Place, place: Place) -> Option<f64> {
        match self {
            Shape::Circle { radius_m } => {
                let distance = center.distance(place);
                (distance <= radius_m).then_some(distance)
            }
            Shape::Box { width_m, height_m } => {
                // The parallel of the place, not of the middle, decides on the width.
                let beside = Place {
                    lon: center.lon,
                    lat: place.lat,
                };
                let is_within = lat_distance(place.lat, center.lat) <= height_m / 2.0
                    && place.distance(beside) <= width_m / 2.0;
                is_within.then(|| center.distance(place))
            }
        }
    }

    /// Metres from the middle to the sides: east or west, and north or south.
    fn reach(self) -> (f64, f64) {
        match self {
            Shape::Circle { radius_m } => (radius_m, radius_m),
            Shape::Box { width_m, height_m } => (width_m / 2.0, height_m / 2.0),
        }
    }

    /// Metres from the middle to the farthest point.
    fn radius(self) -> f64 {
        match self {
            Shape::Circle { radius_m } => radius_m,
            Shape::Box { width_m, height_m } => {
                let (x, y) = (width_m / 2.0, height_m / 2.0);
                (x * x + y * y).sqrt()
            }
        }
    }

    /// The degrees around `center` that the shape reaches to.
    fn bounds(self, center: Place) -> Area {
        let (width, height) = self.reach();
        let lat_delta = degrees(height / EARTH_RADIUS_M);
        // Meridians are closest at the side that is nearer to a pole.
        let narrow = if center.lat < 0.0 {
            center.lat - lat_delta
        } else {
            center.lat + lat_delta
        };
        let lon_delta = degrees(width / EARTH_RADIUS_M / radians(narrow).cos());
        Area {
            lon: (center.lon - lon_delta, center.lon + lon_delta),
            lat: (center.lat - lat_delta, center.lat + lat_delta),
        }
    }

    /// The bits of a cell such that it and its neighbours about cover the shape.
    fn step(self, lat: f64) -> u32 {
        let mut range = self.radius();
        if range == 0.0 {
            return STEP_MAX;
        }
        let mut step = 1i32;
        while range < MERCATOR_MAX_M {
            range *= 2.0;
            step += 1;
        }
        // Two less: then the nine cells cover the shape even when the middle lies in a corner of its cell.
        step -= 2;
        // Towards the poles the cells become narrow.
        step -= i32::from(lat.abs() > 66.0) + i32::from(lat.abs() > 80.0);
        step.clamp(1, STEP_MAX as i32) as u32
    }

    /// The ranges of hashes, the end left out, in which all places within the shape lie, in the order in which they
    /// are searched: the cell of the middle, then its neighbours.
    pub fn hash_ranges(self, center: Place) -> Vec<(u64, u64)> {
        /// Cells to the north and to the east of the middle's.
        const AROUND: [(i32, i32); 9] = [
            (0, 0),
            (1, 0),
            (-1, 0),
            (0, 1),
            (0, -1),
            (1, 1),
            (1, -1),
            (-1, 1),
            (-1, -1),
        ];
        let bounds = self.bounds(center);
        let mut cell = Cell::of(center, LAT_MAX, self.step(center.lat));
        let falls_short = cell.moved(1, 0).area().lat.1 < bounds.lat.1
            || cell.moved(-1, 0).area().lat.0 > bounds.lat.0
            || cell.moved(0, 1).area().lon.1 < bounds.lon.1
            || cell.moved(0, -1).area().lon.0 > bounds.lon.0;
        if cell.step > 1 && falls_short {
            cell = Cell::of(center, LAT_MAX, cell.step - 1);
        }
        let area = cell.area();
        let is_needed = |north: i32, east: i32| {
            cell.step < 2
                || !((north < 0 && area.lat.0 < bounds.lat.0)
                    || (north > 0 && area.lat.1 > bounds.lat.1)
                    || (east < 0 && area.lon.0 < bounds.lon.0)
                    || (east > 0 && area.lon.1 > bounds.lon.1))
        };
        let mut cells: Vec<Cell> = Vec::with_capacity(AROUND.len());
        let mut last = None;
        for (at, (north, east)) in AROUND.into_iter().enumerate() {
            if !is_needed(north, east) {
                continue;
            }
            // On a map of few cells neighbours coincide. Like the real server, compare with the last neighbour
            // alone, and not with the middle.
            let next = cell.moved(north, east);
            if last == Some(next) {
                continue;
            }
            cells.push(next);
            last = (at > 0).then_some(next);
        }
        cells.into_iter().map(Cell::hashes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_hash_as_the_real_server_hashes_them() {
        let palermo = Place::new(13.361389, 38.115556).expect("on the map");
        let catania = Place::new(15.087269, 37.502669).expect("on the map");
        assert_eq!(palermo.hash(), 3_479_099_956_230_698);
        assert_eq!(catania.hash(), 3_479_447_370_796_909);
        let palermo = Place::from_hash(palermo.hash());
        let catania = Place::from_hash(catania.hash());
        assert_eq!(format!("{:.17}", palermo.lon), "13.36138933897018433");
        assert_eq!(&palermo.letters(), b"sqc8b49rny0");
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
        assert!(Place::new(0.0, 85.06).is_none());
        assert!(Place::new(f64::NAN, 0.0).is_none());
    }

    #[test]
    fn bits_spread_and_gather() {
        for value in [0, 1, 0x5555_5555, 0xffff_ffff, 0x1234_5678] {
            assert_eq!(gather(spread(value)), value);
        }
        let cell = Cell {
            lat: 0,
            lon: 3,
            step: 2,
        };
        assert_eq!(
            cell.moved(-1, 1),
            Cell {
                lat: 3,
                lon: 0,
                step: 2
            }
        );
    }

    #[test]
    fn whatever_is_within_a_shape_lies_in_its_ranges() {
        let mut state = 5u64;
        let mut chance = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        for _ in 0..300 {
            let center = Place {
                lon: chance() * 300.0 - 150.0,
                lat: chance() * 120.0 - 60.0,
            };
            let size = 10f64.powf(chance() * 6.0);
            for shape in [
                Shape::Circle { radius_m: size },
                Shape::Box {
                    width_m: size,
                    height_m: size * chance() * 2.0,
                },
            ] {
                let ranges = shape.hash_ranges(center);
                for _ in 0..50 {
                    let spread = size / 50_000.0;
                    let place = Place::new(
                        center.lon + (chance() - 0.5) * spread,
                        center.lat + (chance() - 0.5) * spread,
                    );
                    let Some(place) = place else { continue };
                    let hash = place.hash();
                    let is_in = ranges
                        .iter()
                        .any(|(first, end)| (*first..*end).contains(&hash));
                    let place = Place::from_hash(hash);
                    assert!(is_in || shape.distance_within(center, place).is_none());
                }
            }
        }
    }
}
