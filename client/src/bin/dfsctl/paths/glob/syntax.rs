//! What patterns mean: reading them, and matching paths and names.

use dfs_wire::path::DfsPath;

use crate::output::exit::Exit;
use crate::output::failure::{Failure, Outcome};
use crate::output::text::plain;

/// Alternatives that braces may stand for.
const ALTERNATIVES_MAX: usize = 256;

/// Whether `text` holds a character that means something in a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A pattern on one name.
#[derive(Debug, Clone)]
pub(crate) struct NamePattern {
    alternatives: Vec<Vec<Token>>,
}

impl NamePattern {
    /// Reads a pattern on one name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err(format!("'{}' is a pattern on a name: it cannot hold a slash", plain(text)));
        }
        let alternatives = braces(text)?.iter().map(|one| tokens(one)).collect::<Result<_, _>>()?;
        Ok(Self { alternatives })
    }

    /// Whether `name` matches.
    pub(crate) fn is_match(&self, name: &str) -> bool {
        self.alternatives.iter().any(|one| name_matches(one, name))
    }
}

/// One character of a name, or what may stand for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Char(char),
    AnyChar,
    AnyChars,
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::AnyChar => true,
            Self::AnyChars => false,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
        }
    }
}

/// A part of a path pattern between two slashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Name(Vec<Token>),
    /// `**`
    AnyNames,
}

/// A pattern on paths: what matches one of its alternatives.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(super) alternatives: Vec<Alternative>,
}

#[derive(Debug)]
pub(super) struct Alternative {
    /// The directories before the first special character.
    pub(super) base: DfsPath,
    /// What comes after; empty if nothing is special.
    pub(super) rest: Vec<Segment>,
}

impl Pattern {
    /// Reads an absolute pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let bad = |why: String| {
            Failure::new(Exit::Usage, "BadPattern", why).hint("--literal takes the path as it is written")
        };
        let texts = braces(text).map_err(bad)?;
        let alternatives = texts.iter().map(|one| Alternative::parse(one).map_err(bad));
        Ok(Self { alternatives: alternatives.collect::<Outcome<_>>()? })
    }

    /// Whether `path` matches.
    pub(crate) fn matches(&self, path: &DfsPath) -> bool {
        self.alternatives.iter().any(|one| one.matches(path))
    }

    /// Whether it takes whatever there is at some depth: `/*`, `/**`, `/*/*`.
    pub(crate) fn takes_all(&self) -> bool {
        let any = |segment: &Segment| match segment {
            Segment::AnyNames => true,
            Segment::Name(tokens) => *tokens == [Token::AnyChars],
        };
        self.alternatives.iter().any(|one| one.base.is_root() && one.rest.iter().all(any))
    }
}

impl Alternative {
    fn parse(text: &str) -> Result<Self, String> {
        let mut fixed = String::from("/");
        let mut rest = Vec::new();
        for segment in split(text) {
            match segment.as_str() {
                "**" => rest.push(Segment::AnyNames),
                _ => {
                    let tokens = tokens(&segment)?;
                    match (literal(&tokens), rest.is_empty()) {
                        (Some(name), true) => fixed = format!("{}/{name}", fixed.trim_end_matches('/')),
                        _ => rest.push(Segment::Name(tokens)),
                    }
                }
            }
        }
        Ok(Self { base: DfsPath::parse(&fixed).map_err(|e| e.to_string())?, rest })
    }

    fn matches(&self, path: &DfsPath) -> bool {
        let names: Vec<_> = path.segments().skip(self.base.segments().count()).collect();
        path.starts_with(&self.base) && path_matches(&self.rest, &names)
    }
}

/// What every name begins with that satisfies the tokens.
pub(super) fn prefix(tokens: &[Token]) -> String {
    tokens.iter().map_while(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
}

/// The name that tokens without anything special stand for.
pub(super) fn literal(tokens: &[Token]) -> Option<String> {
    tokens.iter().map(|token| if let Token::Char(c) = token { Some(*c) } else { None }).collect()
}

pub(super) fn path_matches(pattern: &[Segment], names: &[&str]) -> bool {
    match (pattern.split_first(), names.split_first()) {
        (None, _) => names.is_empty(),
        // A last `**` is everything below, not the directory itself.
        (Some((Segment::AnyNames, [])), _) => !names.is_empty(),
        (Some((Segment::AnyNames, rest)), Some((_, fewer))) => {
            path_matches(rest, names) || path_matches(pattern, fewer)
        }
        (Some((Segment::AnyNames, rest)), None) => path_matches(rest, names),
        (Some((Segment::Name(tokens), rest)), Some((name, fewer))) => {
            name_matches(tokens, name) && path_matches(rest, fewer)
        }
        (Some((Segment::Name(_), _)), None) => false,
    }
}

/// Matches one name: only the last `*` is ever tried again, which is enough and takes time length x length at most.
pub(super) fn name_matches(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut next) = (0, 0);
    let mut star = None;
    loop {
        match (tokens.get(next), name.get(at)) {
            (Some(Token::AnyChars), _) => {
                star = Some((next, at));
                next += 1;
                continue;
            }
            (Some(token), Some(c)) if token.takes(*c) => {
                next += 1;
                at += 1;
                continue;
            }
            (None, None) => return true,
            (_, None) => return false,
            _ => {}
        }
        match &mut star {
            None => return false,
            Some((token, from)) => {
                *from += 1;
                (next, at) = (*token + 1, *from);
            }
        }
    }
}

/// The tokens of a pattern without braces.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '\\' => Token::Char(chars.next().unwrap_or('\\')),
            '?' => Token::AnyChar,
            '*' if tokens.last() == Some(&Token::AnyChars) => continue,
            '*' => Token::AnyChars,
            '[' => set(&mut chars)
                .ok_or_else(|| format!("a '[' is not closed in the pattern '{}'", plain(text)))?,
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

/// What comes after a `[`, up to its `]`; a `]` right at the beginning is an ordinary character.
fn set(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let mut first = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Set { negated, ranges }),
            '\\' => chars.next()?,
            c => c,
        };
        let mut last = first;
        if chars.next_if_eq(&'-').is_some() {
            match chars.peek()? {
                // A `-` before the end is an ordinary character.
                ']' => ranges.push(('-', '-')),
                _ => last = chars.next()?,
            }
        }
        if first > last {
            std::mem::swap(&mut first, &mut last);
        }
        ranges.push((first, last));
    }
}

/// The patterns without braces that a pattern stands for.
fn braces(text: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(one) = open.pop() {
        match first_braces(&one)? {
            None => done.push(one),
            Some((before, inside, after)) => {
                open.extend(inside.iter().rev().map(|choice| format!("{before}{choice}{after}")));
            }
        }
        if open.len() + done.len() > ALTERNATIVES_MAX {
            return Err(format!("the braces in '{}' stand for too many patterns", plain(text)));
        }
    }
    Ok(done)
}

/// What is before, inside (the alternatives) and after a pair of braces.
type Braces<'a> = (&'a str, Vec<&'a str>, &'a str);

/// The first pair of braces.
fn first_braces(text: &str) -> Result<Option<Braces<'_>>, String> {
    let unclosed = || format!("a '{{' is not closed in the pattern '{}'", plain(text));
    let (mut depth, mut escaped, mut bracket) = (0_u32, false, false);
    let (mut begin, mut inside, mut choice) = (None, Vec::new(), 0);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if depth == 0 => bracket = true,
            ']' if depth == 0 => bracket = false,
            '{' if !bracket => {
                depth += 1;
                if depth == 1 {
                    (begin, choice) = (Some(index), index + 1);
                }
            }
            ',' if depth == 1 => {
                inside.push(text.get(choice..index).unwrap_or_default());
                choice = index + 1;
            }
            '}' if depth == 1 => {
                inside.push(text.get(choice..index).unwrap_or_default());
                let before = text.get(..begin.unwrap_or(index)).unwrap_or_default();
                return Ok(Some((before, inside, text.get(index + 1..).unwrap_or_default())));
            }
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    if depth > 0 { Err(unclosed()) } else { Ok(None) }
}

/// The segments of a pattern without braces; a slash after a backslash or inside brackets separates all the same,
/// for no name holds one.
fn split(text: &str) -> Vec<String> {
    text.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_what_a_shell_user_expects() {
        let table = [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/b/c", false),
            ("/a/*", "/a", false),
            ("/a/*", "/a/.hidden", true),
            ("/*/c", "/b/c", true),
            ("/*/c", "/b/d/c", false),
            ("/a/?", "/a/é", true),
            ("/a/?", "/a/文", true),
            ("/a/?", "/a/bb", false),
            ("/a/*.t?t", "/a/b.c.txt", true),
            ("/a/*a*b*", "/a/xxaxxbxx", true),
            ("/a/*a*b", "/a/xxbxxa", false),
            ("/a/[ab].txt", "/a/b.txt", true),
            ("/a/[!ab].txt", "/a/b.txt", false),
            ("/a/[^ab].txt", "/a/c.txt", true),
            ("/a/[a-c]", "/a/b", true),
            ("/a/[à-é]", "/a/ä", true),
            ("/a/[]]", "/a/]", true),
            ("/a/[a-]", "/a/-", true),
            ("/a/[*]", "/a/*", true),
            ("/a/[*]", "/a/b", false),
            ("/a/{x,yy}.log", "/a/yy.log", true),
            ("/a/{x,y/z}.log", "/a/y/z.log", true),
            ("/a/{x,yy}.log", "/a/y.log", false),
            ("/a/{b{1,2},c}", "/a/b2", true),
            ("/a/x{,.bak}", "/a/x", true),
            ("/a/[{]", "/a/{", true),
            ("/a/**", "/a/b/c/d", true),
            ("/a/**", "/a", false),
            ("/a/**/d", "/a/d", true),
            ("/a/**/d", "/a/b/c/d", true),
            ("/**/*.rs", "/x.rs", true),
            ("/**/*.rs", "/a/b/x.rs", true),
            ("/**/*.rs", "/a/b/x.rc", false),
            ("/a**/c", "/ab/c", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
            ("/a/\\{b", "/a/{b", true),
            ("//a//*/", "/a/b", true),
            ("/a b/*", "/a b/c d", true),
        ];
        for (pattern, path, expected) in table {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(&DfsPath::parse(path).unwrap()), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn the_fixed_part_is_not_listed() {
        let base =
            |text: &str| Pattern::parse(text).unwrap().alternatives.first().map(|one| one.base.to_string());
        assert_eq!(base("/a/b/*.txt").as_deref(), Some("/a/b"));
        assert_eq!(base("/a*/b").as_deref(), Some("/"));
        assert_eq!(base("/a/{b,c}/d").as_deref(), Some("/a/b/d"));
    }

    #[test]
    fn everything_has_many_names() {
        let all = |text: &str| Pattern::parse(text).unwrap().takes_all();
        for text in ["/*", "/**", "/*/", "/**/*", "/*/*", "/{*,x}", "/{x,**}", "/{,*/}*"] {
            assert!(all(text), "{text}");
        }
        for text in ["/a*", "/a/*", "/*a", "/*/b", "/{a,b}/*", "/?*"] {
            assert!(!all(text), "{text}");
        }
    }

    #[test]
    fn a_broken_pattern_is_a_usage_error() {
        for bad in ["/a/[", "/a/[b", "/a/{x", "/../*", "/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"] {
            assert_eq!(Pattern::parse(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
        assert!(NamePattern::parse("a/b").is_err());
        assert!(!is_pattern("/a/b c.txt") && is_pattern("/a/[x]"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_and_a_name_matches_itself(text in "\\PC{0,24}", name in "[^/*?\\[\\]{}\\\\]{1,12}") {
            if let Ok(pattern) = NamePattern::parse(&text) {
                pattern.is_match(&name);
            }
            prop_assert!(NamePattern::parse(&name).unwrap().is_match(&name));
            prop_assert!(NamePattern::parse("*").unwrap().is_match(&name));
        }
    }
}
