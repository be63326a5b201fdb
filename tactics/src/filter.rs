//! Which tactics a build may use.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{families, family_of};

/// Families that change layouts: a list of families to use means these too.
const REFORMATS: &str = "reformat";

/// Which tactics may be used, by family.
///
/// Written as a list with commas: `all`; `own`, for kernels of this project alone; names of families, for these alone;
/// names behind a minus, for all but these. A name stands for every family that has its words in their order: `cudnn`
/// and `conv.cudnn` for `conv.cudnn`, `conv` for every family of convolutions. With a slash it is the beginning of a
/// tactic's name: `conv.cuda.mma/128x`.
///
/// Changes of layout (`reformat`) and views belong to every list that does not exclude them.
///
/// ```
/// use tactician_tactics::TacticFilter;
///
/// let own: TacticFilter = "own,-conv.cuda.mma".parse()?;
/// assert!(own.allows("conv.cuda.simt/64x64x8") && !own.allows("conv.cudnn/e41") && !own.allows("conv.cuda.mma/x"));
/// # Ok::<(), tactician_tactics::ParseFilterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TacticFilter {
    own: bool,
    allowed: Vec<String>,
    excluded: Vec<String>,
}

/// A list that names no tactics.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseFilterError {
    /// A name that belongs to no family.
    #[error("no family of tactics is called `{name}`; there are {}", families().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// A list without a name.
    #[error("an empty name: write all, own, or families such as conv.cuda,-conv.cudnn")]
    Empty,
    /// `own` and a family that is not ours.
    #[error("`own` leaves out `{name}`, which calls a library")]
    NotOwn {
        /// The name.
        name: String,
    },
}

impl TacticFilter {
    /// These alone, by names as they are written in a list; what no tactic is called allows none.
    ///
    /// ```
    /// use tactician_tactics::TacticFilter;
    ///
    /// let one = TacticFilter::only(["conv.cudnn/e41.k2=3,k7=1"]);
    /// assert!(one.allows("conv.cudnn/e41.k2=3,k7=1") && !one.allows("conv.cudnn/e41.k2=3,k7=2"));
    /// ```
    pub fn only(names: impl IntoIterator<Item = impl Into<String>>) -> TacticFilter {
        TacticFilter { allowed: names.into_iter().map(Into::into).collect(), ..TacticFilter::default() }
    }

    /// Whether a tactic of this name may be used.
    pub fn allows(&self, id: &str) -> bool {
        let any = |list: &[String]| list.iter().any(|name| covers(name, id));
        if any(&self.excluded) || (self.own && library_of(id).is_some()) {
            return false;
        }
        self.allowed.is_empty() || any(&self.allowed) || covers(REFORMATS, id) || family_of(id) == "view"
    }
}

/// The library beside the driver that a tactic's steps call, `cudnn` or `cublaslt`, if there is one.
pub fn library_of(id: &str) -> Option<&'static str> {
    ["cudnn", "cublaslt"].into_iter().find(|library| covers(library, id))
}

/// Whether a name on a list stands for a tactic.
fn covers(name: &str, id: &str) -> bool {
    if name.contains('/') {
        return id.starts_with(name);
    }
    let (name, family): (Vec<&str>, Vec<&str>) =
        (name.split('.').collect(), family_of(id).split('.').collect());
    family.windows(name.len()).any(|words| words == name)
}

/// The items of a list. Some tactics have commas in their names: `conv.cudnn/e41.k2=3,k7=1` is one item.
fn items(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        match items.last_mut().filter(|last| last.contains('/') && part.contains('=')) {
            Some(last) => *last = format!("{last},{part}"),
            None => items.push(part.to_owned()),
        }
    }
    items
}

impl FromStr for TacticFilter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<TacticFilter, ParseFilterError> {
        let mut out = TacticFilter::default();
        for item in &items(text) {
            let (name, list) = match item.strip_prefix('-') {
                Some(name) => (name, &mut out.excluded),
                None => (item.as_str(), &mut out.allowed),
            };
            match item.as_str() {
                "all" => continue,
                "own" => {
                    out.own = true;
                    continue;
                }
                _ if name.is_empty() => return Err(ParseFilterError::Empty),
                _ => {}
            }
            let known = |family: &&str| match name.split_once('/') {
                Some((of, _)) => *family == of,
                None => covers(name, family),
            };
            if !families().iter().any(known) {
                return Err(ParseFilterError::Unknown { name: name.to_owned() });
            }
            list.push(name.to_owned());
        }
        if let Some(name) = out.allowed.iter().find(|n| out.own && library_of(n).is_some()) {
            return Err(ParseFilterError::NotOwn { name: name.clone() });
        }
        Ok(out)
    }
}

impl fmt::Display for TacticFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.own.then(|| "own".to_owned());
        let excluded = self.excluded.iter().map(|n| format!("-{n}"));
        let items: Vec<String> =
            own.into_iter().chain(self.allowed.iter().cloned()).chain(excluded).collect();
        if items.is_empty() { f.write_str("all") } else { f.write_str(&items.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TacticFilter {
        text.parse().unwrap()
    }

    #[test]
    fn lists_say_what_is_allowed() {
        for (list, allowed, excluded) in [
            ("all", &["conv.cudnn/e41", "host.cpu/pool.cpu/plain", "view/plain"][..], &[][..]),
            (
                "own",
                &["conv.cuda.any/x", "host.cpu/x", "view/plain"],
                &["conv.cudnn/e41", "matmul.cublaslt/a"],
            ),
            (
                "conv.cudnn",
                &["conv.cudnn/e41", "reformat.cuda/x", "view/plain"],
                &["conv.cuda.any/x", "pool.cuda/x"],
            ),
            (
                "conv",
                &["conv.cudnn/e41", "conv.cpu.direct/x"],
                &["conv_transpose.cpu/x", "matmul.cublaslt/a"],
            ),
            (
                "-cudnn,-cublaslt",
                &["conv.cuda.any/x"],
                &["conv.cudnn/e", "conv.cublaslt/e", "matmul.cublaslt/a"],
            ),
            ("conv.cuda,-conv.cuda.mma", &["conv.cuda.any/x"], &["conv.cuda.mma/x", "conv.cudnn/e41"]),
            ("conv.cuda.mma/128x", &["conv.cuda.mma/128x64"], &["conv.cuda.mma/64x64"]),
            ("own,-reformat,-view", &["conv.cuda.any/x"], &["reformat.cuda/x", "view/plain"]),
            ("host.cpu", &["host.cpu/pool.cpu/plain"], &["pool.cpu/plain"]),
            (
                "-conv.cudnn/e41.k2=3,k7=1,-conv.cuda",
                &["conv.cudnn/e41.k2=3"],
                &["conv.cudnn/e41.k2=3,k7=1", "conv.cuda.any/x"],
            ),
        ] {
            let f = filter(list);
            for id in allowed {
                assert!(f.allows(id), "{list} must allow {id}");
            }
            for id in excluded {
                assert!(!f.allows(id), "{list} must exclude {id}");
            }
        }
    }

    #[test]
    fn lists_print_as_they_are_read() {
        for (list, printed) in [
            ("all", "all"),
            ("own", "own"),
            (" conv.cuda , -conv.cuda.mma", "conv.cuda,-conv.cuda.mma"),
            ("-cudnn,own", "own,-cudnn"),
            ("all,-cudnn", "-cudnn"),
            ("conv.cudnn/e41.k2=3,k7=1, pool", "conv.cudnn/e41.k2=3,k7=1,pool"),
        ] {
            assert_eq!(filter(list).to_string(), printed);
            assert_eq!(filter(printed), filter(list));
        }
        assert_eq!(TacticFilter::default().to_string(), "all");
    }

    #[test]
    fn wrong_lists_are_refused() {
        let refused = |text: &str| text.parse::<TacticFilter>().unwrap_err();
        for text in ["", ",", "own,", "-"] {
            assert_eq!(refused(text), ParseFilterError::Empty, "{text}");
        }
        for text in ["conv.cud", "-magic", "conv.magic/x", "cuda.conv", "-own"] {
            assert!(matches!(refused(text), ParseFilterError::Unknown { .. }), "{text}");
        }
        assert!(refused("magic").to_string().contains("conv.cuda.mma, "));
        assert_eq!(refused("own,conv.cudnn"), ParseFilterError::NotOwn { name: "conv.cudnn".into() });
    }
}
