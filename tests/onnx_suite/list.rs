//! The list of cases that are refused on purpose, of those with a wider tolerance, and of those whose numbers are free.

/// One line: a name, in which `*` stands for anything, and a reason.
pub(crate) struct Entry {
    pub(crate) pattern: String,
    pub(crate) reason: String,
    kind: Kind,
}

/// What a line says of its cases.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Refused,
    /// They run, with this absolute tolerance.
    Within(f64),
    /// They run, and types and sizes alone are compared.
    Free,
}

pub(crate) struct List(Vec<Entry>);

impl List {
    /// Lines `PATTERN: REASON`, `PATTERN ~ TOLERANCE: REASON` and `PATTERN ?: REASON`; `#` begins a remark.
    pub(crate) fn parse(text: &str) -> Result<List, String> {
        let mut entries = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong =
                || format!("unsupported.txt, line {}: expected `case: reason`, found `{line}`", at + 1);
            let (head, reason) = line.split_once(':').ok_or_else(wrong)?;
            if reason.trim().is_empty() {
                return Err(wrong());
            }
            let (pattern, kind) = match (head.split_once('~'), head.trim_end().strip_suffix('?')) {
                (Some((p, t)), _) => (p, Kind::Within(t.trim().parse().map_err(|_| wrong())?)),
                (None, Some(p)) => (p, Kind::Free),
                (None, None) => (head, Kind::Refused),
            };
            let (pattern, reason) = (pattern.trim().to_owned(), reason.trim().to_owned());
            entries.push(Entry { pattern, reason, kind });
        }
        Ok(List(entries))
    }

    /// Why a case is refused.
    pub(crate) fn reason(&self, case: &str) -> Option<&str> {
        let refused = |e: &&Entry| e.kind == Kind::Refused && matches(&e.pattern, case);
        self.0.iter().find(refused).map(|e| e.reason.as_str())
    }

    /// The absolute tolerance of a case, where it is not the suite's.
    pub(crate) fn tolerance(&self, case: &str) -> Option<f64> {
        self.0.iter().filter(|e| matches(&e.pattern, case)).find_map(|e| match e.kind {
            Kind::Within(t) => Some(t),
            Kind::Refused | Kind::Free => None,
        })
    }

    /// Whether a case's numbers are free.
    pub(crate) fn is_free(&self, case: &str) -> bool {
        self.0.iter().any(|e| e.kind == Kind::Free && matches(&e.pattern, case))
    }

    /// The lines that no case matches.
    pub(crate) fn idle<'a>(&'a self, cases: &'a [&str]) -> impl Iterator<Item = &'a Entry> {
        self.0.iter().filter(|e| !cases.iter().any(|c| matches(&e.pattern, c)))
    }
}

/// Whether a pattern with `*` for anything matches a whole name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
