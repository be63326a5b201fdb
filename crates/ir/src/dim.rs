//! Dimension sizes, known or symbolic.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// The size of one axis: a number, or an integer polynomial in named symbols such as `N` or `4*H + 1`.
///
/// Kept in a normal form, so that equal polynomials compare equal: `N + N` is `2*N`. Divisions that do not come out
/// even stay as opaque factors `floor(a / b)`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Known(i64),
    /// Sum of coefficient times product of factors. Never constant.
    Poly(Arc<BTreeMap<Vec<Factor>, i64>>),
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Factor {
    Symbol(Arc<str>),
    Floor(Dim, Dim),
}

/// Values for symbols.
pub type Symbols = BTreeMap<String, usize>;

impl Dim {
    /// A known size (or a known number in shape arithmetic, where it may be negative).
    pub fn known(n: i64) -> Dim {
        Dim(Repr::Known(n))
    }

    /// A named unknown.
    pub fn symbol(name: &str) -> Dim {
        Dim(Repr::Poly(Arc::new(BTreeMap::from([(vec![Factor::Symbol(name.into())], 1)]))))
    }

    /// The number, if known.
    pub fn as_i64(&self) -> Option<i64> {
        match &self.0 {
            Repr::Known(n) => Some(*n),
            Repr::Poly(_) => None,
        }
    }

    /// The size, if known and not negative.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_i64().and_then(|n| usize::try_from(n).ok())
    }

    /// Whether this is the known number `n`.
    pub fn is(&self, n: i64) -> bool {
        self.as_i64() == Some(n)
    }

    /// `floor(self / by)`; division by a known zero gives zero.
    pub fn div_floor(&self, by: &Dim) -> Dim {
        match (self.as_i64(), by.as_i64()) {
            (_, Some(0)) => Dim::known(0),
            (Some(a), Some(b)) => {
                Dim::known(a.div_euclid(b).saturating_sub(i64::from(b < 0 && a.rem_euclid(b) != 0)))
            }
            (_, Some(1)) => self.clone(),
            (_, Some(b)) if self.terms().values().all(|c| c % b == 0) => {
                Dim::from_terms(self.terms().into_iter().map(|(k, c)| (k, c / b)).collect())
            }
            _ if self == by => Dim::known(1),
            _ => Dim::from_terms(BTreeMap::from([(vec![Factor::Floor(self.clone(), by.clone())], 1)])),
        }
    }

    /// `ceil(self / by)`.
    pub fn div_ceil(&self, by: &Dim) -> Dim {
        (self.clone() + by.clone() - Dim::known(1)).div_floor(by)
    }

    /// Puts numbers for symbols; those without one stay.
    pub fn bind(&self, symbols: &Symbols) -> Dim {
        let Repr::Poly(terms) = &self.0 else { return self.clone() };
        let mut sum = Dim::known(0);
        for (factors, &c) in terms.iter() {
            let mut product = Dim::known(c);
            for f in factors {
                let f = match f {
                    Factor::Symbol(s) => {
                        symbols.get(&**s).map_or_else(|| Dim::symbol(s), |&n| Dim::known(n as i64))
                    }
                    Factor::Floor(a, b) => a.bind(symbols).div_floor(&b.bind(symbols)),
                };
                product = product * f;
            }
            sum = sum + product;
        }
        sum
    }

    /// Adds the names of all symbols to `out`.
    pub fn symbols(&self, out: &mut std::collections::BTreeSet<String>) {
        if let Repr::Poly(terms) = &self.0 {
            for f in terms.keys().flatten() {
                match f {
                    Factor::Symbol(s) => {
                        out.insert(s.to_string());
                    }
                    Factor::Floor(a, b) => {
                        a.symbols(out);
                        b.symbols(out);
                    }
                }
            }
        }
    }

    fn terms(&self) -> BTreeMap<Vec<Factor>, i64> {
        match &self.0 {
            Repr::Known(0) => BTreeMap::new(),
            Repr::Known(n) => BTreeMap::from([(vec![], *n)]),
            Repr::Poly(t) => (**t).clone(),
        }
    }

    fn from_terms(mut terms: BTreeMap<Vec<Factor>, i64>) -> Dim {
        terms.retain(|_, c| *c != 0);
        match terms.len() {
            0 => Dim::known(0),
            1 if terms.contains_key(&vec![]) => Dim::known(terms[&vec![]]),
            _ => Dim(Repr::Poly(Arc::new(terms))),
        }
    }
}

// Sizes come from files, so arithmetic saturates instead of overflowing; the element-count check refuses what
// saturated.
impl Add for Dim {
    type Output = Dim;

    fn add(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_i64(), other.as_i64()) {
            return Dim::known(a.saturating_add(b));
        }
        let mut terms = self.terms();
        for (k, c) in other.terms() {
            let slot = terms.entry(k).or_insert(0);
            *slot = slot.saturating_add(c);
        }
        Dim::from_terms(terms)
    }
}

impl Sub for Dim {
    type Output = Dim;

    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::known(-1)
    }
}

impl Mul for Dim {
    type Output = Dim;

    fn mul(self, other: Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_i64(), other.as_i64()) {
            return Dim::known(a.saturating_mul(b));
        }
        let mut terms = BTreeMap::new();
        let right = other.terms();
        for (ka, ca) in self.terms() {
            for (kb, cb) in &right {
                let mut k: Vec<Factor> = ka.iter().chain(kb).cloned().collect();
                k.sort();
                let slot: &mut i64 = terms.entry(k).or_insert(0);
                *slot = slot.saturating_add(ca.saturating_mul(*cb));
            }
        }
        Dim::from_terms(terms)
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::known(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<i32> for Dim {
    fn from(n: i32) -> Dim {
        Dim::known(i64::from(n))
    }
}

/// A symbol of that name.
impl From<&str> for Dim {
    fn from(name: &str) -> Dim {
        Dim::symbol(name)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Known(n) => write!(f, "{n}"),
            Repr::Poly(terms) => {
                // Constant last: `4*N + 1` reads better than `1 + 4*N`.
                let order = terms.iter().filter(|(k, _)| !k.is_empty()).chain(terms.get_key_value(&vec![]));
                for (i, (factors, &c)) in order.enumerate() {
                    let sign = match (i, c < 0) {
                        (0, true) => "-",
                        (0, false) => "",
                        (_, true) => " - ",
                        (_, false) => " + ",
                    };
                    f.write_str(sign)?;
                    let c = c.unsigned_abs();
                    if c != 1 || factors.is_empty() {
                        write!(f, "{c}{}", if factors.is_empty() { "" } else { "*" })?;
                    }
                    for (j, factor) in factors.iter().enumerate() {
                        let star = if j > 0 { "*" } else { "" };
                        match factor {
                            Factor::Symbol(s) => write!(f, "{star}{s}")?,
                            Factor::Floor(a, b) => write!(f, "{star}floor({a}, {b})")?,
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_normalise() {
        let n = Dim::symbol("N");
        assert_eq!(n.clone() + n.clone() - n.clone() * Dim::known(2), Dim::known(0));
        let h = (Dim::symbol("H") + Dim::known(2) - Dim::known(3)).div_floor(&Dim::known(2)) + Dim::known(1);
        assert_eq!(h.to_string(), "floor(H - 1, 2) + 1");
        assert_eq!(h.bind(&Symbols::from([("H".into(), 224)])), Dim::known(112));
        assert_eq!((n.clone() * Dim::known(6)).div_floor(&Dim::known(3)).to_string(), "2*N");
        assert_eq!((n.clone() * n).to_string(), "N*N");
    }

    #[test]
    fn floor_division_rounds_down() {
        for (a, b, want) in [(7, 2, 3), (-7, 2, -4), (7, -2, -4), (-7, -2, 3), (6, 3, 2), (5, 0, 0)] {
            assert_eq!(Dim::known(a).div_floor(&Dim::known(b)), Dim::known(want), "{a}/{b}");
        }
    }

    #[test]
    fn huge_sizes_saturate() {
        assert_eq!(Dim::known(i64::MAX) * Dim::known(2), Dim::known(i64::MAX));
    }
}
