//! Reads the definitions of the messages out of the source, for the document and its hash.

use std::fmt::Write;

use crate::recorded;

/// The files that define what travels in heads, in the order of the document.
pub(crate) const FILES: [(&str, &str); 20] = [
    ("Heads of frames", "src/message/mod.rs"),
    ("Handshake", "src/handshake.rs"),
    ("Status", "src/status.rs"),
    ("Ids of more than one number", "src/id.rs"),
    ("Grants and receipts", "src/auth.rs"),
    ("Metadata", "src/message/metadata/mod.rs"),
    ("Metadata: answers", "src/message/metadata/answer.rs"),
    ("Metadata: what became of copies", "src/message/metadata/life.rs"),
    ("Metadata: copies, and uploads that are gone on with", "src/message/metadata/resume.rs"),
    ("Chunk", "src/message/chunk.rs"),
    ("Chunk: what it says of itself", "src/message/facts.rs"),
    ("Replication", "src/message/replication.rs"),
    ("Membership", "src/message/membership.rs"),
    ("Inventory", "src/message/inventory.rs"),
    ("Certificates", "src/message/enroll.rs"),
    ("Secrets", "src/secret.rs"),
    ("Admin", "src/message/admin.rs"),
    ("Admin: who is let in", "src/message/trust.rs"),
    ("Health", "src/message/health.rs"),
    ("Jobs", "src/message/job.rs"),
];

/// A definition: its kind, name, meaning, and lines.
pub(crate) struct Definition {
    pub(crate) is_enum: bool,
    pub(crate) name: String,
    pub(crate) doc: String,
    pub(crate) items: Vec<Item>,
}

/// A field or variant.
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) content: String,
    pub(crate) doc: String,
}

/// Every definition of a file that travels, in order.
pub(crate) fn definitions(file: &str) -> Vec<Definition> {
    let source = recorded::read(file);
    assert!(!source.is_empty(), "{file} is missing");
    let mut all: Vec<Definition> = vec![];
    let (mut doc, mut travels, mut open) = (String::new(), false, false);
    for line in source.lines() {
        let text = line.trim();
        if let Some(words) = text.strip_prefix("///") {
            doc = format!("{doc} {}", plain(words.trim())).trim().to_owned();
        } else if text.starts_with("#[") {
            travels |= text.contains("Serialize");
        } else if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            let is_enum = words.nth(1) == Some("enum") || text.contains("enum ");
            let name = text.split_whitespace().nth(2).unwrap_or_default();
            let (name, inner) = name.split_once('(').unwrap_or((name, ""));
            let inner = text.split_once("(pub ").map_or(inner, |(_, i)| i.trim_end_matches([')', ';']));
            if travels {
                let items = match inner {
                    "" => vec![],
                    inner => vec![Item { name: String::new(), content: kind(inner), doc: String::new() }],
                };
                all.push(Definition { is_enum, name: name.to_owned(), doc: doc.clone(), items });
            }
            open = travels && text.ends_with('{');
            (doc, travels) = (String::new(), false);
        } else if line == "}" {
            open = false;
        } else if open && !text.is_empty() && !text.starts_with("//") {
            let definition = all.last_mut().expect("one is open");
            definition.items.push(item(text, std::mem::take(&mut doc)));
        } else {
            (doc, travels) = (String::new(), false);
        }
    }
    all
}

/// Without the marks that only rustdoc understands.
fn plain(words: &str) -> String {
    words.replace("[`", "`").replace("`]", "`").replace("crate::limits::", "").replace("Self::", "")
}

fn item(text: &str, doc: String) -> Item {
    let text = text.trim_start_matches("pub ").trim_end_matches(',');
    let (name, content) = match text.split_once(": ") {
        Some((name, content)) => (name, kind(content)),
        None => match text.split_once('(') {
            Some((name, content)) => (name, kind(content.trim_end_matches(')'))),
            None => (text, String::new()),
        },
    };
    assert!(name.chars().all(|c| c.is_alphanumeric() || c == '_'), "not understood: {text}");
    Item { name: name.to_owned(), content, doc }
}

/// The type in the document's words.
fn kind(rust: &str) -> String {
    let inner = |prefix: &str| rust.strip_prefix(prefix).and_then(|r| r.strip_suffix('>'));
    if let Some(inner) = inner("Box<") {
        kind(inner)
    } else if let Some(inner) = inner("Option<") {
        format!("option of {}", kind(inner))
    } else if let Some("u8") = inner("Vec<") {
        "bytes".to_owned()
    } else if let Some(inner) = inner("Vec<") {
        format!("list of {}", kind(inner))
    } else if let Some(n) = rust.strip_prefix("[u8; ").and_then(|r| r.strip_suffix(']')) {
        format!("{n} raw bytes")
    } else {
        let name = rust.rsplit("::").next().unwrap_or(rust);
        match name {
            "String" => "text".to_owned(),
            "DfsPath" => "path".to_owned(),
            name => name.to_owned(),
        }
    }
}

/// The whole reference, as it stands in the document.
pub(crate) fn reference() -> String {
    let mut out = String::new();
    for (title, file) in FILES {
        writeln!(out, "### {title}\n\n```text").unwrap();
        for d in definitions(file) {
            let what = if d.is_enum { "enum" } else { "struct" };
            writeln!(out, "{what} {} -- {}", d.name, d.doc).unwrap();
            for (number, i) in d.items.iter().enumerate() {
                let left = match (d.is_enum, i.content.is_empty(), i.name.is_empty()) {
                    (true, true, _) => format!("{number} {}", i.name),
                    (true, false, _) => format!("{number} {} {}", i.name, i.content),
                    (false, _, true) => i.content.clone(),
                    (false, _, false) => format!("{}: {}", i.name, i.content),
                };
                let line = format!("    {left:<36}  {}", i.doc);
                writeln!(out, "{}", line.trim_end()).unwrap();
            }
            writeln!(out).unwrap();
        }
        out.truncate(out.trim_end().len());
        out.push_str("\n```\n\n");
    }
    out.truncate(out.trim_end().len());
    out
}

/// What the hash covers: every definition without its comments.
pub(crate) fn canonical() -> String {
    let mut out = String::new();
    for (_, file) in FILES {
        for d in definitions(file) {
            let items: Vec<String> = d.items.iter().map(|i| format!("{}:{}", i.name, i.content)).collect();
            let what = if d.is_enum { "enum" } else { "struct" };
            writeln!(out, "{what} {} {{{}}}", d.name, items.join(";")).unwrap();
        }
    }
    out
}
