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

/// A tree whose deepest path has about 4,000 bytes.
fn deep() -> String {
    format!("/a{}", format!("/{}", "n".repeat(250)).repeat(16))
}

#[test]
fn a_directory_is_not_moved_to_where_what_it_holds_could_not_be_named() {
    let mut lab = Lab::new();
    lab.mkdir(&deep());
    let (long, levels) = (format!("/{}", "m".repeat(255)), "/l".repeat(40));
    lab.mkdir(&long);
    lab.mkdir(&levels);
    let refused = |lab: &mut Lab, from: &str, to: &str| lab.rename(from, to, false).unwrap_err();
    let error = refused(&mut lab, "/a", &format!("{long}/a"));
    assert_eq!(error.code(), StatusCode::InvalidArgument, "{error}");
    lab.rename("/a", "/b", false).unwrap();
    lab.mkdir(&format!("/c{}", "/d".repeat(47)));
    lab.mkdir(&format!("/c{}", "/d".repeat(94)));
    for depth in (141..=235).step_by(47) {
        lab.mkdir(&format!("/c{}", "/d".repeat(depth)));
    }
    assert_eq!(refused(&mut lab, "/c", &format!("{levels}/c")).code(), StatusCode::InvalidArgument);
    lab.delete("/b", false).unwrap();
    let to = Some(path(&format!("{long}/b")));
    let undelete = Mutation::Undelete(Undelete { inode: None, path: Some(path("/b")), to });
    assert_eq!(lab.code(&undelete), StatusCode::InvalidArgument);
    let undelete = Mutation::Undelete(Undelete { inode: None, path: Some(path("/b")), to: None });
    lab.apply(&undelete).unwrap();
    lab.assert_consistent();
}

#[test]
fn an_entry_that_cannot_be_named_does_not_hide_the_others() {
    use crate::coordinator::metadata::model::records::Inode;
    use crate::coordinator::metadata::model::tree;
    use crate::coordinator::metadata::table::keys;
    let mut lab = Lab::new();
    lab.mkdir(&deep());
    let long = format!("/{}", "m".repeat(255));
    lab.mkdir(&long);
    lab.mkdir("/z");
    let (moved, parent) = (lab.reader().stat(&path("/a")).unwrap(), lab.reader().stat(&path(&long)).unwrap());
    let mut overlay = Overlay::new(lab.store.snapshot().unwrap(), None);
    overlay
        .mutate(|txn| {
            let inode = Inode { parent: parent.inode, ..tree::node(txn, &path("/a"))?.inode };
            txn.delete(keys::entry(dfs_wire::id::InodeId::ROOT, "a"));
            tree::link(txn, moved.inode, &inode)
        })
        .unwrap();
    lab.store.commit(&overlay.into_batches()).unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let listed = page(&lab, "/", true, after, 4);
        seen.extend(listed.entries.into_iter().map(|entry| entry.path));
        after = listed.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.last()), (18, Some(&path("/z"))), "all but the one that is too long");
    assert!(lab.reader().disk_usage(&DiskUsage { path: path("/"), after: None }).is_ok());
}
