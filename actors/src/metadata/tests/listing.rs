//! Listings in pages, while the directory changes (C4 of the contract).

use std::collections::BTreeSet;

use super::*;

fn page(lab: &Lab, p: &str, recursive: bool, after: Option<DfsPath>, limit: u32) -> Listed {
    lab.reader().list(&List { path: path(p), recursive, after, limit }).unwrap()
}

#[test]
fn ten_thousand_entries_are_listed_whole_while_others_come_and_go() {
    let mut lab = Lab::new();
    lab.mkdir("/d");
    for i in 0..10_000 {
        lab.mkdir(&format!("/d/keep-{i:05}"));
    }
    let (mut seen, mut after, mut round) = (BTreeSet::new(), None, 0);
    loop {
        let listed = page(&lab, "/d", false, after, 0);
        let order = |w: &[FileStat]| w[0].path.segments().lt(w[1].path.segments());
        assert!(listed.entries.windows(2).all(order), "in order");
        for entry in &listed.entries {
            assert!(seen.insert(entry.path.to_string()), "{} came twice", entry.path);
        }
        after = listed.next;
        let Some(cursor) = &after else { break };
        // The cursor's own entry may go, and names come before and after it.
        round += 1;
        lab.mkdir(&format!("/d/keep-00000-{round}"));
        lab.mkdir(&format!("/d/z-{round}"));
        if round % 3 == 0 && cursor.as_str().contains("/z-") {
            lab.delete(cursor.as_str(), false).unwrap();
        }
    }
    assert!(round > 30, "it took {round} pages");
    assert!((0..10_000).all(|i| seen.contains(&format!("/d/keep-{i:05}"))));
}

#[test]
fn a_recursive_listing_goes_on_where_the_cursor_was_even_if_that_is_gone() {
    let mut lab = Lab::new();
    for p in ["/r/a/1/x", "/r/a/2", "/r/b", "/r/b c/1", "/r/c/1/2/3"] {
        lab.mkdir(p);
    }
    let all = page(&lab, "/r", true, None, 0).entries;
    let names: Vec<_> = all.iter().map(|e| e.path.as_str()).collect();
    let wanted = [
        "/r/a",
        "/r/a/1",
        "/r/a/1/x",
        "/r/a/2",
        "/r/b",
        "/r/b c",
        "/r/b c/1",
        "/r/c",
        "/r/c/1",
        "/r/c/1/2",
        "/r/c/1/2/3",
    ];
    assert_eq!(names, wanted, "a directory before what it holds");
    for (i, entry) in all.iter().enumerate() {
        let rest = page(&lab, "/r", true, Some(entry.path.clone()), 0).entries;
        assert_eq!(rest, all[i + 1..], "after {}", entry.path);
    }
    lab.delete("/r/a", false).unwrap();
    let rest = page(&lab, "/r", true, Some(path("/r/a/1/x")), 2);
    assert_eq!(rest.entries[0].path, path("/r/b"));
    assert_eq!(rest.next, Some(path("/r/b c")));
    let wrong =
        lab.reader().list(&List { path: path("/r"), recursive: true, after: Some(path("/q")), limit: 0 });
    assert_eq!(wrong.unwrap_err().code(), StatusCode::InvalidArgument);
}

#[test]
fn a_page_fits_into_an_answer_however_long_the_names_are() {
    let mut lab = Lab::new();
    let deep: String = (0..12).map(|_| format!("/{}", "n".repeat(250))).collect();
    for i in 0..60 {
        lab.mkdir(&format!("{deep}/{i:0200}"));
    }
    let listed = page(&lab, &deep, false, None, 0);
    assert!(listed.next.is_some() && listed.entries.len() > 5);
    let answer = dfs_wire::codec::encode(&MetadataResponse::Listed(listed)).unwrap();
    assert!(answer.len() < dfs_wire::limits::HEAD_BYTES_MAX, "{} bytes", answer.len());
}

#[test]
fn a_file_lists_itself_and_du_counts_in_steps() {
    let mut lab = Lab::new();
    lab.put("/f", 100);
    assert_eq!(page(&lab, "/f", false, None, 0).entries.len(), 1);
    for i in 0..3_000 {
        lab.mkdir(&format!("/d/{}/{i}", i % 7));
    }
    lab.put("/d/3/file", 70_000);
    let (mut after, mut steps) = (None, 0);
    let mut sum = (0, 0, 0, 0);
    loop {
        let step = lab.reader().disk_usage(&DiskUsage { path: path("/d"), after }).unwrap();
        sum = (sum.0 + step.files, sum.1 + step.directories, sum.2 + step.bytes, sum.3 + step.raw_bytes);
        steps += 1;
        match step.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((sum, steps), ((1, 3_008, 70_000, 210_000), 2));
}
