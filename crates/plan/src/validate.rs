//! Checks on metadata from a file, all before any of it is used.

use std::collections::BTreeSet;

use crate::ALIGNMENT;
use crate::meta::{NetworkForm, Place, PlanMeta, Port, Profile, SizeRange};

/// Most entries in any list.
const MAX_COUNT: usize = 1 << 20;

/// Most axes of a port.
const MAX_RANK: usize = 8;

/// Largest arena.
const MAX_ARENA: u64 = 1 << 44;

/// The first thing that is wrong: what and where.
pub(crate) fn validate(meta: &PlanMeta, constant_bytes: u64) -> Result<(), (String, String)> {
    let at = |place: &str, what: &str| Err((what.to_owned(), place.to_owned()));
    for (name, count) in [
        ("inputs", meta.inputs.len()),
        ("outputs", meta.outputs.len()),
        ("constants", meta.constants.len()),
        ("steps", meta.steps.len()),
        ("values", meta.values.len()),
    ] {
        if count > MAX_COUNT {
            return at(name, &format!("{count} entries are more than {MAX_COUNT}"));
        }
    }
    for (kind, ports) in [("input", &meta.inputs), ("output", &meta.outputs)] {
        let mut names = BTreeSet::new();
        for p in ports {
            let place = format!("{kind} `{}`", p.name);
            if p.shape.len() > MAX_RANK || p.bytes().is_none() {
                return at(&place, "its shape is too large");
            }
            if !names.insert(&p.name) {
                return at(&place, "its name is used twice");
            }
        }
    }
    for (i, c) in meta.constants.iter().enumerate() {
        let inside = c.offset.checked_add(c.len).is_some_and(|end| end <= constant_bytes);
        if !inside || !c.offset.is_multiple_of(ALIGNMENT) {
            return at(&format!("constant {i}"), "it is misaligned or lies outside the file");
        }
    }
    if meta.arena_bytes > MAX_ARENA {
        return at("arena", &format!("{} bytes are more than {MAX_ARENA}", meta.arena_bytes));
    }
    if !meta.predicted_us.is_finite() {
        return at("plan", "its predicted time is not a number");
    }
    for (i, v) in meta.values.iter().enumerate() {
        if v.offset.checked_add(v.bytes).is_none_or(|end| end > meta.arena_bytes) || v.first > v.last {
            return at(&format!("value {i} `{}`", v.name), "it lies outside the arena");
        }
    }
    if meta.profiles.is_empty() != (meta.network_form == NetworkForm::None)
        || meta.profiles.is_empty() != (meta.network_bytes == 0)
    {
        return at("profiles", "they and the network come together or not at all");
    }
    for (i, p) in meta.profiles.iter().enumerate() {
        if let Some(what) = profile(meta, p, i == 0) {
            return at(&format!("profile {i}"), what);
        }
    }
    let mut written = vec![false; meta.outputs.len()];
    for (i, s) in meta.steps.iter().enumerate() {
        let place = format!("step {i} `{}`", s.name);
        if s.inputs.len().max(s.outputs.len()) > MAX_COUNT {
            return at(&place, "too many arguments");
        }
        if !s.predicted_us.is_finite() {
            return at(&place, "its predicted time is not a number");
        }
        for &p in s.inputs.iter().chain(&s.outputs).chain(&s.scratch) {
            let sound = match p {
                Place::Arena { offset, len } => {
                    offset.is_multiple_of(ALIGNMENT)
                        && offset.checked_add(len).is_some_and(|end| end <= meta.arena_bytes)
                }
                other => meta.len_of(other).is_some(),
            };
            if !sound {
                return at(&place, &format!("argument {p:?} does not exist"));
            }
        }
        if s.inputs.iter().any(|p| matches!(p, Place::Output { index } if !written[*index as usize])) {
            return at(&place, "it reads an output that no step has written");
        }
        if s.code.is_some_and(|c| c as usize >= meta.constants.len()) {
            return at(&place, "its code does not exist");
        }
        if !matches!(s.scratch, None | Some(Place::Arena { .. })) {
            return at(&place, "its scratch is outside the arena");
        }
        let writes: Vec<Place> = s.outputs.iter().chain(&s.scratch).copied().collect();
        for (w, &p) in writes.iter().enumerate() {
            match p {
                Place::Constant { .. } | Place::Input { .. } => {
                    return at(&place, "it writes a constant or an input");
                }
                Place::Output { index } => written[index as usize] = true,
                Place::Arena { .. } => {}
            }
            let others =
                s.inputs.iter().chain(writes.iter().enumerate().filter(|(j, _)| *j != w).map(|(_, q)| q));
            if others.into_iter().any(|&q| overlap(p, q)) {
                return at(&place, "what it writes overlaps another argument");
            }
        }
    }
    let full = |p: &Port| p.bytes() != Some(0);
    match meta.outputs.iter().zip(&written).find(|(p, w)| !**w && full(p)) {
        Some((p, _)) => at(&format!("output `{}`", p.name), "no step writes it"),
        None => Ok(()),
    }
}

/// What is wrong with a profile; the `first` is the one that the steps are of.
fn profile(meta: &PlanMeta, p: &Profile, first: bool) -> Option<&'static str> {
    if p.inputs.len() != meta.inputs.len() || p.choices.len() > MAX_COUNT {
        return Some("it is of another network");
    }
    if p.arena_bytes > MAX_ARENA || p.scratch_bytes > p.arena_bytes {
        return Some("its arena is too large, or smaller than its scratch");
    }
    for (ranges, port) in p.inputs.iter().zip(&meta.inputs) {
        let sizes =
            |of: fn(&SizeRange) -> u64| Port { shape: ranges.iter().map(of).collect(), ..port.clone() };
        if ranges.len() != port.shape.len() || first && sizes(|r| r.opt) != *port {
            return Some("an input has other sizes than the steps were made for");
        }
        if ranges.iter().any(|r| r.min > r.opt || r.opt > r.max) {
            return Some("a range does not have its sizes in order");
        }
        if sizes(|r| r.max).bytes().is_none() {
            return Some("an input is too large");
        }
    }
    None
}

fn overlap(a: Place, b: Place) -> bool {
    match (a, b) {
        (Place::Arena { offset: x, len: m }, Place::Arena { offset: y, len: n }) => {
            m > 0 && n > 0 && x < y.saturating_add(n) && y < x.saturating_add(m)
        }
        _ => a == b,
    }
}
