//! Whether markup is well-formed: every element is closed by its own name, attributes are quoted and not repeated,
//! `<`, `&` and control characters stand nowhere else.

/// Elements that HTML does not close.
const VOID: [&str; 2] = ["input", "br"];

/// Fails at the first fault.
pub(crate) fn check(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        plain(&rest[..at]);
        let (tag, behind) = split_tag(&rest[at + 1..]);
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.trim()), "an end without its beginning, before: {}", head(rest));
            continue;
        }
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |t| (t, true));
        let name = tag.split_whitespace().next().unwrap_or("");
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "an element <{tag}>");
        attributes(&tag[name.len()..]);
        if !closed && !VOID.contains(&name) {
            open.push(name);
        }
    }
    plain(rest);
    assert!(open.is_empty(), "not closed: {open:?}");
}

fn head(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A tag's inside and what comes behind it; `>` may stand in quotes.
fn split_tag(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '>' if !quoted => return (&text[..i], &text[i + 1..]),
            _ => {}
        }
    }
    panic!("a tag does not end: {}", head(text));
}

fn attributes(mut text: &str) {
    let mut seen = Vec::new();
    while !text.trim().is_empty() {
        let (name, behind) =
            text.split_once("=\"").unwrap_or_else(|| panic!("an attribute without quotes: {text}"));
        let (value, next) = behind.split_once('"').expect("quotes end");
        let name = name.strip_prefix([' ', '\n']).expect("a space before an attribute").trim_start();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "an attribute `{name}`");
        assert!(!seen.contains(&name), "`{name}` stands twice");
        seen.push(name);
        plain(value);
        text = next;
    }
}

/// Text between markup.
fn plain(text: &str) {
    for (i, c) in text.char_indices() {
        assert!(c != '<' && (c == '\n' || c == '\t' || !c.is_control()), "{c:?} in: {}", head(&text[i..]));
        if c == '&' {
            let entity = text[i + 1..].split_once(';').map(|e| e.0);
            let known = ["amp", "lt", "gt", "quot", "#39"];
            assert!(entity.is_some_and(|e| known.contains(&e)), "& in: {}", head(&text[i..]));
        }
    }
}
