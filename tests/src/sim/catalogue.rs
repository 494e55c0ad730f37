//! All kinds of faults, as they are written and what they mean: from the source that reads and writes them.

use std::fmt::Write as _;

const SOURCE: &str = include_str!("faults.rs");

/// A kind of fault.
struct Kind<'a> {
    /// The form in which it is written.
    form: String,
    /// The comment on its variant.
    meaning: &'a str,
}

/// How a list of faults is written, and all that can be in it.
pub fn faults_help() -> String {
    let mut text = String::from(
        "A list of faults: '12.5 kill d2; 14 start d2'. Each is a time, in seconds since the load began, and what happens then.\n\
         Hosts: co is the coordinator, d1 d2 ... are datanodes, c1 c2 ... clients. Clients are killed, started again and cut off, no more.\n\
         When the last fault is over all of them are ended: the network is fair, disks are sound, everybody is up.\n\n",
    );
    for Kind { form, meaning } in kinds() {
        writeln!(text, "  {form:<28} {meaning}").expect("a string takes all");
    }
    text
}

fn kinds() -> Vec<Kind<'static>> {
    let meanings = between(SOURCE, "pub enum Fault {", "\n}");
    let forms = between(SOURCE, "impl fmt::Display for Fault {", "\n}");
    let lines: Vec<&str> = meanings.lines().map(str::trim).collect();
    let variants = lines.windows(2).filter_map(|pair| {
        let meaning = pair[0].strip_prefix("/// ")?;
        let name = pair[1].split(['(', ',']).next().filter(|name| name.starts_with(char::is_uppercase))?;
        Some(Kind { form: form(forms, name)?, meaning })
    });
    variants.collect()
}

/// How a variant is written: a word, and what stands for what it is about.
fn form(forms: &str, name: &str) -> Option<String> {
    let arm = forms.split(&format!("Self::{name}(")).nth(1)?;
    let written = between(arm, "\"", "\"");
    let words = written.split(' ').map(|word| match word {
        "{host}" => "HOST".to_owned(),
        "{crash}" => "HOST before|after disk|frame NUMBER kill|power".to_owned(),
        _ => match word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) {
            Some(value) => value.to_uppercase(),
            None => word.to_owned(),
        },
    });
    Some(words.collect::<Vec<_>>().join(" "))
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let begun = text.split_once(from).map_or("", |(_, rest)| rest);
    begun.split_once(to).map_or(begun, |(part, _)| part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::faults::parse;

    #[test]
    fn every_kind_of_fault_is_told_in_the_form_that_is_read() {
        let read = between(SOURCE, "match *name {", "_ =>");
        let names: Vec<_> = read.lines().filter_map(|line| line.trim().split('"').nth(1)).collect();
        let kinds = kinds();
        assert!(names.len() > 25, "{names:?}");
        for name in names {
            let kind = kinds.iter().find(|kind| kind.form.split(' ').next() == Some(name));
            let Kind { form, meaning } = kind.unwrap_or_else(|| panic!("{name} is not told"));
            assert!(meaning.ends_with('.'), "{name}: {meaning}");
            let words = form.split(' ').skip(1).map(|word| match word {
                "HOST" | "A" => "d1",
                "B" => "d2",
                _ => word.split_once('|').map_or("3", |(first, _)| first),
            });
            let sample = format!("1 {name} {}", words.collect::<Vec<_>>().join(" "));
            assert!(parse(&sample).is_ok(), "{sample}");
        }
    }
}
