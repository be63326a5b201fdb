//! Text that is safe to put into a page, and numbers with their units.

use std::fmt::Write;

/// Narrow no-break space: between a number and its unit.
const GAP: char = '\u{202f}';

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";

/// Text for an element's content or a quoted attribute, in HTML and in SVG.
///
/// Control characters, which XML has no form for, and those that turn the direction of the text around them become
/// U+FFFD.
pub(crate) fn esc(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}')
            }
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// JSON for the inside of a `script` element: no character that HTML could see as markup.
pub(crate) fn json_in_script(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 16);
    for c in json.chars() {
        // Outside of strings JSON has none of these; inside, an escape means the same.
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}

/// At most `most` characters, the end of what is longer being told by an ellipsis in its middle.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let n = text.chars().count();
    if n <= most {
        return text.to_owned();
    }
    let tail = most / 2;
    let head: String = text.chars().take(most.saturating_sub(tail + 1)).collect();
    let end: String = text.chars().skip(n - tail).collect();
    format!("{head}…{end}")
}

/// Three significant digits, without an exponent.
fn digits(n: f64) -> String {
    match n.abs() {
        0.0 => "0".into(),
        a if a < 9.995 => format!("{n:.2}"),
        a if a < 99.95 => format!("{n:.1}"),
        _ => format!("{n:.0}"),
    }
}

/// A time given in microseconds, in the unit that suits it.
pub(crate) fn time(us: f64) -> String {
    match us.abs() {
        a if !a.is_finite() => NONE.into(),
        a if a < 999.5 => format!("{}{GAP}µs", digits(us)),
        a if a < 999_500.0 => format!("{}{GAP}ms", digits(us / 1e3)),
        _ => format!("{}{GAP}s", digits(us / 1e6)),
    }
}

/// A time that may be missing.
pub(crate) fn time_or_none(us: Option<f64>) -> String {
    us.map_or(NONE.into(), time)
}

/// A size in bytes with three digits, in the binary unit that suits it.
pub(crate) fn bytes(n: u64) -> String {
    size(n, digits)
}

/// A size in bytes with as many digits as it has, up to three behind the point.
pub(crate) fn exact_bytes(n: u64) -> String {
    size(n, |v| format!("{v:.3}"))
}

fn size(n: u64, digits: impl Fn(f64) -> String) -> String {
    let (unit, name) = match n {
        0..1024 => return format!("{n}{GAP}B"),
        1024..0x10_0000 => (1024.0, "KiB"),
        0x10_0000..0x4000_0000 => (1_048_576.0, "MiB"),
        0x4000_0000..0x100_0000_0000 => (1_073_741_824.0, "GiB"),
        _ => (1_099_511_627_776.0, "TiB"),
    };
    let text = digits(n as f64 / unit);
    // 64 MiB, not 64.0 MiB.
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{GAP}{name}")
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    if !share.is_finite() {
        return NONE.into();
    }
    format!("{:.1}{GAP}%", share * 100.0)
}

/// `1 step`, `2 steps`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(esc("</script>&\"'\u{0}\u{202e}é"), "&lt;/script&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}é");
        let json = json_in_script(r#"{"a":"</script><!--&"}"#);
        assert_eq!(json, r#"{"a":"\u003c/script\u003e\u003c!--\u0026"}"#);
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["a"], "</script><!--&");
    }

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let plain = |s: String| s.replace(GAP, " ");
        for (us, text) in [
            (0.0, "0 µs"),
            (0.4567, "0.46 µs"),
            (9.996, "10.0 µs"),
            (217.4, "217 µs"),
            (999.7, "1.00 ms"),
            (12345.0, "12.3 ms"),
            (2.5e6, "2.50 s"),
            (-1.25, "-1.25 µs"),
            (f64::NAN, NONE),
        ] {
            assert_eq!(plain(time(us)), text, "{us}");
        }
        assert_eq!(plain(exact_bytes((53 << 20) + (3 << 18))), "53.75 MiB");
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (802_816, "784 KiB"),
            (64 << 20, "64 MiB"),
            (100 << 20, "100 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(plain(bytes(n)), text, "{n}");
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(shorten("short", 8), "short");
        assert_eq!(shorten("layer1.0.conv1.weight", 11), "layer…eight");
        assert_eq!(shorten("éééééééé", 3), "é…é");
    }
}
