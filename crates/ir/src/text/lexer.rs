//! Splits a text into tokens.

use std::borrow::Cow;

use super::{TextError, TextErrorKind};

/// One token. `End` repeats for ever.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'s> {
    /// `conv`, `f32`, `N`.
    Word(&'s str),
    /// `12`, `0.5`, `1e-7`, `0x7fc00000`; never signed.
    Number(&'s str),
    /// `%name`, without the sign.
    Value(&'s str),
    /// `$3`, without the sign.
    Input(&'s str),
    /// `"…"`, escapes resolved.
    Text(Cow<'s, str>),
    /// `'…'`, a symbol that is no word.
    Quoted(Cow<'s, str>),
    /// A character that stands for itself.
    Mark(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// For messages.
    pub(super) fn describe(&self) -> String {
        let short = |s: &str| {
            let mut out: String = s.chars().take(40).collect();
            if out.len() < s.len() {
                out.push('…');
            }
            out
        };
        match self {
            Token::Word(w) | Token::Number(w) => format!("`{}`", short(w)),
            Token::Value(w) => format!("`%{}`", short(w)),
            Token::Input(w) => format!("`${}`", short(w)),
            Token::Text(t) => format!("{:?}", short(t)),
            Token::Quoted(t) => format!("`'{}'`", short(t)),
            Token::Mark(c) => format!("`{c}`"),
            Token::End => "the end of the text".into(),
        }
    }
}

/// Whether a character may stand in `%name`.
pub(super) fn in_value(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
}

/// Whether a string is one word.
pub(super) fn is_word(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads tokens one by one.
pub(super) struct Lexer<'s> {
    text: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s str) -> Lexer<'s> {
        Lexer { text, at: 0 }
    }

    /// An error at a byte offset.
    pub(super) fn error(&self, at: usize, kind: TextErrorKind, found: String, expected: &str) -> TextError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        TextError { line, column, kind, found, expected: expected.to_owned() }
    }

    fn rest(&self) -> &'s str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The next token and the offset of its first byte.
    pub(super) fn next(&mut self) -> Result<(Token<'s>, usize), TextError> {
        self.skip_blank();
        let start = self.at;
        let Some(c) = self.rest().chars().next() else { return Ok((Token::End, start)) };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let token = match c {
            'a'..='z' | 'A'..='Z' | '_' => Token::Word(self.take_while(word)),
            '0'..='9' => Token::Number(self.number()),
            '%' => {
                self.at += 1;
                Token::Value(self.named(start, "a name after `%`", in_value)?)
            }
            '$' => {
                self.at += 1;
                Token::Input(self.named(start, "a number after `$`", |c| c.is_ascii_digit())?)
            }
            '"' => Token::Text(self.quoted('"')?),
            '\'' => Token::Quoted(self.quoted('\'')?),
            '{' | '}' | '(' | ')' | '[' | ']' | ',' | ':' | ';' | '=' | '*' | '+' | '-' => {
                self.at += 1;
                Token::Mark(c)
            }
            c => {
                let found = format!("`{}`", c.escape_debug());
                return Err(self.error(start, TextErrorKind::Syntax, found, "a word, number or value"));
            }
        };
        Ok((token, start))
    }

    fn named(&mut self, start: usize, what: &str, keep: impl Fn(char) -> bool) -> Result<&'s str, TextError> {
        let name = self.take_while(keep);
        if name.is_empty() {
            let found = self
                .rest()
                .chars()
                .next()
                .map_or("the end of the text".into(), |c| format!("`{}`", c.escape_debug()));
            return Err(self.error(start, TextErrorKind::Syntax, found, what));
        }
        Ok(name)
    }

    fn number(&mut self) -> &'s str {
        let (text, start) = (self.text, self.at);
        if self.rest().starts_with("0x") {
            self.at += 2;
            self.take_while(|c| c.is_ascii_hexdigit());
            return &text[start..self.at];
        }
        let digit = |c: char| c.is_ascii_digit();
        self.take_while(digit);
        if self.rest().starts_with('.') {
            self.at += 1;
            self.take_while(digit);
        }
        let mut exponent = self.rest().chars();
        if matches!(exponent.next(), Some('e' | 'E')) {
            let sign = match exponent.next() {
                Some('+' | '-') => exponent.next().is_some_and(digit).then_some(2),
                Some(c) if digit(c) => Some(1),
                _ => None,
            };
            if let Some(skip) = sign {
                self.at += skip;
                self.take_while(digit);
            }
        }
        &text[start..self.at]
    }

    fn quoted(&mut self, quote: char) -> Result<Cow<'s, str>, TextError> {
        let start = self.at;
        self.at += 1;
        let body = self.at;
        let plain = self.take_while(|c| c != quote && c != '\\' && c != '\n');
        if self.rest().starts_with(quote) {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        let rest = &self.text[body..];
        let mut out = String::new();
        let mut i = 0;
        while let Some(c) = rest[i..].chars().next() {
            let from = i;
            i += c.len_utf8();
            match c {
                c if c == quote => {
                    self.at = body + i;
                    return Ok(Cow::Owned(out));
                }
                '\n' => break,
                '\\' => {
                    let (c, len) =
                        unescape(&rest[i..]).ok_or_else(|| self.bad_escape(body + from, &rest[i..]))?;
                    out.push(c);
                    i += len;
                }
                c => out.push(c),
            }
        }
        let found = "a string without an end".to_owned();
        Err(self.error(start, TextErrorKind::Syntax, found, &format!("a closing {quote} on the line")))
    }

    fn bad_escape(&self, at: usize, rest: &str) -> TextError {
        let shown: String = rest.chars().take(1).collect();
        let expected = r#"one of \n \r \t \0 \\ \" \' \u{…}"#;
        self.error(at, TextErrorKind::Syntax, format!("`\\{}`", shown.escape_debug()), expected)
    }
}

/// The character that an escape stands for, and the length of what follows the backslash.
fn unescape(rest: &str) -> Option<(char, usize)> {
    Some(match rest.chars().next()? {
        'n' => ('\n', 1),
        'r' => ('\r', 1),
        't' => ('\t', 1),
        '0' => ('\0', 1),
        c @ ('\\' | '"' | '\'') => (c, 1),
        'u' => {
            let hex: &str = rest.strip_prefix("u{")?;
            let len = hex.bytes().take(7).position(|b| b == b'}')?;
            let c = char::from_u32(u32::from_str_radix(&hex[..len], 16).ok()?)?;
            (c, len + 3)
        }
        _ => return None,
    })
}

/// A string between quotes, escaped so that the lexer reads it back.
pub(super) fn quote(s: &str, quote: char) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push(quote);
    for c in s.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
