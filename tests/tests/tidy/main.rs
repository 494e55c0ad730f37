//! The house rules as tests, after TigerBeetle's `tidy.zig`: what a reviewer would otherwise have to say again.
//!
//! Each rule is a pure function from text to complaints, with a bad sample that proves it bites.

mod bans;
mod circles;
mod determinism;
mod documents;
mod manifests;
mod reads;
mod rooms;
mod sdk;
mod source;
mod tree;
mod words;

use std::path::{Path, PathBuf};

use circles::Among;
use source::Source;

/// Files that may be longer than the limit for now: (path, lines). May shrink, must not grow; empty is the aim.
const LONG_FILES: &[(&str, usize)] = &[];
/// Functions that may be longer than the limit for now: (path, function, lines).
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// The crates whose modules form no circle, and how closely that is looked at.
const CRATES: &[(&str, Among)] = &[
    ("actors/src/", Among::Files),
    ("client/src/", Among::Folders),
    ("client/src/bin/dfsctl/", Among::Files),
    ("node/src/", Among::Folders),
    ("tests/src/", Among::Files),
    ("wire/src/", Among::Files),
];

/// The words of the project.
const GLOSSARY: &str = "node/docs/glossary.md";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the repository").to_path_buf()
}

/// Every file of the repository as a path relative to its top, sorted. Build output and local clusters are not
/// part of it.
fn files() -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort();
    assert!(found.len() > 20, "the repository was not found");
    found
}

fn walk(top: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
        match name.as_str() {
            ".git" | "target" | ".dfs-dev" => {}
            "artifacts" | "coverage" if dir.ends_with("fuzz") => {}
            _ if path.is_dir() => walk(top, &path, found),
            _ => {
                let relative = path.strip_prefix(top).expect("below the top");
                found.push(relative.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<Source> {
    files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| Source::new(&path, &read(&path)))
        .collect()
}

#[track_caller]
fn no_complaints(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

fn of_each(rule: impl Fn(&Source) -> Vec<String>) {
    no_complaints(sources().iter().flat_map(rule).collect());
}

#[test]
fn files_and_functions_are_short() {
    of_each(|source| source::too_long(source, LONG_FILES, LONG_FUNCTIONS));
}

#[test]
fn every_module_says_what_it_is() {
    of_each(source::no_module_doc);
}

#[test]
fn nothing_is_left_unfinished() {
    of_each(source::unfinished);
}

#[test]
fn unsafe_stays_in_its_module() {
    of_each(source::misplaced_unsafe);
}

#[test]
fn text_is_clean() {
    let text = |path: &String| {
        [".rs", ".md", ".toml", ".yaml", ".yml", ".sh"].iter().any(|end| path.ends_with(end))
            || path == ".ci/run"
    };
    no_complaints(
        files()
            .iter()
            .filter(|path| text(path))
            .flat_map(|path| source::unclean(path, &read(path)))
            .collect(),
    );
}

#[test]
fn rooms_import_only_what_they_may() {
    of_each(rooms::misplaced_import);
}

#[test]
fn the_sdk_is_apart_from_the_command_and_small() {
    of_each(sdk::named_command);
    of_each(sdk::side_doors);
    no_complaints(sdk::too_public(&sources()));
}

#[test]
fn verbs_do_not_borrow_from_verbs() {
    of_each(sdk::borrowed);
}

#[test]
fn modules_form_no_circle() {
    no_complaints(circles::circles(&sources(), CRATES));
}

#[test]
fn the_roles_do_not_know_each_other() {
    no_complaints(circles::across_walls(&sources()));
}

#[test]
fn a_run_of_the_actors_follows_from_its_seed() {
    of_each(determinism::tossed_coins);
    of_each(determinism::process_state);
    let samples = "actors/src/tests/bans.rs";
    let samples = Source::new(samples, &read(samples));
    no_complaints(determinism::unproved_bans(&read("actors/.clippy.toml"), &samples));
}

#[test]
fn every_ban_of_clippy_has_a_sample_that_it_refuses() {
    let samples = "tests/tests/tidy/bans.rs";
    let samples = Source::new(samples, &read(samples));
    no_complaints(determinism::unproved_bans(&read(".clippy.toml"), &samples));
}

#[test]
fn nobody_who_serves_reads_the_metadata_himself() {
    of_each(reads::misplaced_reads);
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    no_complaints(tree::dead_files(&sources()));
}

#[test]
fn the_top_level_is_closed() {
    no_complaints(tree::strangers(&files()));
}

#[test]
fn dependencies_are_declared_once() {
    let manifests: Vec<_> = files().into_iter().filter(|path| path.ends_with("/Cargo.toml")).collect();
    no_complaints(manifests.iter().flat_map(|path| manifests::misdeclared(path, &read(path))).collect());
}

#[test]
fn dependencies_are_used() {
    let all = sources();
    let manifests = files().into_iter().filter(|path| path.ends_with("/Cargo.toml"));
    let unused = |path: String| {
        let room = path.trim_end_matches("Cargo.toml").to_owned();
        let inside: Vec<_> = all.iter().filter(|source| source.path.starts_with(&room)).collect();
        let uses = |name: &str| inside.iter().any(|source| manifests::uses(source, name));
        manifests::unused(&path, &read(&path), &uses)
    };
    no_complaints(manifests.flat_map(unused).collect());
}

#[test]
fn every_profile_unwinds() {
    no_complaints(manifests::aborting(&read("Cargo.toml")));
}

#[test]
fn links_in_documents_lead_somewhere() {
    let all = files();
    let documents: Vec<_> = all.iter().filter(|path| path.ends_with(".md")).collect();
    let headings = |path: &str| all.iter().any(|file| file == path).then(|| read(path));
    let known = |path: &str| root().join(path).exists();
    no_complaints(
        documents
            .iter()
            .flat_map(|path| documents::dead_links(path, &read(path), &known, &headings))
            .collect(),
    );
}

#[test]
fn documents_name_files_that_are_there() {
    let all = files();
    let documents = all.iter().filter(|path| path.ends_with(".md") && !path.contains("/decisions/"));
    let exists = |path: &str| root().join(path).exists();
    no_complaints(
        documents.flat_map(|path| documents::names_of_nothing(path, &read(path), &exists)).collect(),
    );
}

#[test]
fn comments_name_types_that_are_there() {
    let all = sources();
    let known = documents::words_of_code(&all);
    no_complaints(all.iter().flat_map(|source| documents::names_no_type(source, &known)).collect());
}

#[test]
fn comments_on_items_say_something() {
    of_each(documents::says_nothing);
}

#[test]
fn rooms_have_one_grammar() {
    of_each(rooms::odd_room);
    of_each(rooms::misplaced_actor);
    no_complaints(rooms::incomplete_rooms(&sources()));
}

#[test]
fn tests_lie_where_all_tests_lie() {
    of_each(rooms::misplaced_tests);
}

#[test]
fn most_functions_are_short() {
    no_complaints(source::long_on_the_whole(&sources()));
}

#[test]
fn every_status_code_is_in_the_protocol() {
    let text = read("wire/PROTOCOL.md");
    no_complaints(documents::undocumented_codes(&text, dfs_wire::status::StatusCode::ALL));
}

#[test]
fn one_word_stands_for_one_concept() {
    no_complaints(words::tangled(&sources(), &read(GLOSSARY)));
    no_complaints(words::stale_exceptions(&sources()));
    of_each(words::false_alarms);
}

#[test]
fn every_word_of_the_glossary_is_at_home_in_the_code() {
    no_complaints(words::homeless(GLOSSARY, &read(GLOSSARY), &sources()));
}
