//! The list of cases that are refused on purpose, and of those with a wider tolerance.

/// One line: a name, in which `*` stands for anything, and a reason.
pub(crate) struct Entry {
    pub(crate) pattern: String,
    pub(crate) reason: String,
    /// Absolute tolerance, for a case that runs.
    tolerance: Option<f64>,
}

pub(crate) struct List(Vec<Entry>);

impl List {
    /// Lines `PATTERN: REASON` and `PATTERN ~ TOLERANCE: REASON`; `#` begins a remark.
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
            let (pattern, tolerance) = match head.split_once('~') {
                Some((p, t)) => (p, Some(t.trim().parse().map_err(|_| wrong())?)),
                None => (head, None),
            };
            let (pattern, reason) = (pattern.trim().to_owned(), reason.trim().to_owned());
            entries.push(Entry { pattern, reason, tolerance });
        }
        Ok(List(entries))
    }

    /// Why a case is refused.
    pub(crate) fn reason(&self, case: &str) -> Option<&str> {
        let refused = |e: &&Entry| e.tolerance.is_none() && matches(&e.pattern, case);
        self.0.iter().find(refused).map(|e| e.reason.as_str())
    }

    /// The absolute tolerance of a case, where it is not the suite's.
    pub(crate) fn tolerance(&self, case: &str) -> Option<f64> {
        self.0.iter().filter(|e| matches(&e.pattern, case)).find_map(|e| e.tolerance)
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
