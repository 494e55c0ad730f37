//! Copies that share chunks, sums that go along, and uploads that are found again.

use dfs_wire::id::{Generation, VersionId};

use super::*;

fn copy_of(from: &str, to: &str) -> OpenCopy {
    OpenCopy {
        from: path(from),
        to: path(to),
        if_match: None,
        precondition: Precondition::Any,
        parents: true,
        preserve: false,
    }
}

impl Lab {
    fn open_copy(&mut self, request: OpenCopy) -> Result<CopyOpened, MetaError> {
        self.apply(&Mutation::OpenCopy(request)).map(|outcome| match outcome {
            Outcome::CopyOpened(opened) => opened,
            other => panic!("{other:?}"),
        })
    }

    fn copy_step(&mut self, session: SessionId) -> CopyProgress {
        match self.apply(&Mutation::CopyChunks(SessionOnly { session })).unwrap() {
            Outcome::Copied(progress) => progress,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn copy(&mut self, from: &str, to: &str) -> FileStat {
        let opened = self.open_copy(copy_of(from, to)).unwrap();
        while self.copy_step(opened.session).copied < opened.chunk_count {}
        self.commit(opened.session, opened.size, opened.chunk_count).unwrap()
    }

    pub(super) fn chunks_of(&self, p: &str) -> Vec<crate::coordinator::metadata::ops::read::LocatedChunk> {
        let (mut all, mut first) = (Vec::new(), 0);
        loop {
            let read = OpenRead { path: path(p), version: None, first, count: 0 };
            let page = self.reader().open_read(&read).unwrap();
            if page.chunks.is_empty() {
                return all;
            }
            all.extend(page.chunks);
            first = u32::try_from(all.len()).unwrap();
        }
    }

    fn shares(&self) -> [usize; 3] {
        [self.count(b"f"), self.count(b"c"), self.count(b"w")]
    }

    pub(super) fn release_now(&mut self) {
        self.now_ms += self.policy.read_lease_ms + 60_001;
        self.drain_and_delete(3);
    }
}

#[test]
fn a_copy_shares_its_chunks_and_lives_on_without_its_source() {
    let mut lab = Lab::new();
    let source = lab.put("/a", 200_000);
    let copy = lab.copy("/a", "/new/b");
    assert_eq!((copy.size, copy.chunk_count), (source.size, source.chunk_count));
    assert_ne!((copy.inode, copy.version), (source.inode, source.version));
    assert_eq!(lab.totals().chunks, 4, "no chunk more");
    let (a, b) = (lab.chunks_of("/a"), lab.chunks_of("/new/b"));
    assert_eq!(a, b, "the same chunks, with the file they were written for in their grants");
    assert!(a.iter().all(|chunk| chunk.references == 2));
    lab.assert_consistent();

    lab.delete("/a", true).unwrap();
    lab.release_now();
    assert_eq!((lab.totals().chunks, lab.totals().files), (4, 1));
    assert!(lab.chunks_of("/new/b").iter().all(|chunk| chunk.references == 1 && chunk.file == source.inode));
    lab.assert_consistent();
    let third = lab.copy("/new/b", "/c");
    lab.delete("/new/b", true).unwrap();
    lab.release_now();
    assert_eq!(lab.chunks_of("/c").len(), third.chunk_count as usize);
    lab.assert_consistent();
    lab.delete("/c", true).unwrap();
    lab.release_now();
    assert_eq!((lab.totals().chunks, lab.shares()), (0, [0; 3]));
    lab.assert_consistent();
}

#[test]
fn a_big_copy_is_many_small_batches_and_a_repeated_one_does_no_harm() {
    let mut lab = Lab::new();
    lab.put("/big", 4_000 * 65_536 - 7);
    lab.ops_max = 0;
    let opened = lab.open_copy(copy_of("/big", "/copy")).unwrap();
    let mut steps = 0;
    loop {
        let progress = lab.copy_step(opened.session);
        steps += 1;
        assert_eq!(lab.reader().stat(&path("/copy")).unwrap_err().code(), StatusCode::NotFound);
        if progress.copied == 4_000 {
            break;
        }
    }
    assert!(steps > 3 && lab.ops_max <= 126, "{steps} steps, {} rows", lab.ops_max);
    assert_eq!(lab.copy_step(opened.session).copied, 4_000);
    lab.commit(opened.session, opened.size, 4_000).unwrap();
    assert!(lab.chunks_of("/copy").iter().all(|chunk| chunk.references == 2));
    lab.assert_consistent();
}

#[test]
fn a_copy_that_is_given_up_or_forgotten_gives_its_references_back() {
    for ends_by_abort in [true, false] {
        let mut lab = Lab::new();
        lab.put("/a", 2_000 * 65_536);
        let opened = lab.open_copy(copy_of("/a", "/b")).unwrap();
        let copied = lab.copy_step(opened.session).copied;
        assert!(copied > 0 && copied < 2_000);
        match ends_by_abort {
            true => drop(lab.apply(&Mutation::Abort(SessionOnly { session: opened.session })).unwrap()),
            false => lab.now_ms += lab.policy.upload_lease_ms + 1,
        }
        lab.release_now();
        assert_eq!((lab.shares(), lab.totals().uploads), ([0; 3], 0));
        assert!(lab.chunks_of("/a").iter().all(|chunk| chunk.references == 1));
        lab.assert_consistent();
    }
}

#[test]
fn what_is_being_copied_is_not_released_though_it_was_deleted() {
    let mut lab = Lab::new();
    lab.put("/a", 2_000 * 65_536);
    let opened = lab.open_copy(copy_of("/a", "/b")).unwrap();
    lab.copy_step(opened.session);
    lab.delete("/a", true).unwrap();
    for _ in 0..3 {
        lab.now_ms += lab.policy.read_lease_ms + 1;
        lab.apply(&Mutation::Renew(SessionOnly { session: opened.session })).unwrap();
        lab.drain_and_delete(3);
    }
    assert_eq!(lab.totals().chunks, 2_000);
    while lab.copy_step(opened.session).copied < opened.chunk_count {}
    lab.commit(opened.session, opened.size, opened.chunk_count).unwrap();
    lab.release_now();
    assert_eq!(lab.totals().chunks, 2_000);
    assert!(lab.chunks_of("/b").iter().all(|chunk| chunk.references == 1));
    lab.assert_consistent();
}

#[test]
fn a_copy_that_cannot_be_is_refused_and_a_repeated_opening_is_one() {
    let mut lab = Lab::new();
    let stat = lab.put("/a", 10);
    lab.mkdir("/d");
    let refused = |lab: &mut Lab, request| lab.open_copy(request).unwrap_err().code();
    assert_eq!(refused(&mut lab, copy_of("/none", "/b")), StatusCode::NotFound);
    assert_eq!(refused(&mut lab, copy_of("/d", "/b")), StatusCode::IsADirectory);
    assert_eq!(refused(&mut lab, copy_of("/a", "/d")), StatusCode::IsADirectory);
    assert_eq!(refused(&mut lab, copy_of("/a", "/a")), StatusCode::InvalidArgument);
    let other = OpenCopy { if_match: Some(VersionId(7)), ..copy_of("/a", "/b") };
    assert_eq!(refused(&mut lab, other), StatusCode::PreconditionFailed);
    let absent = OpenCopy { precondition: Precondition::Absent, ..copy_of("/a", "/d/a") };
    let that = OpenCopy { if_match: Some(stat.version), ..absent };
    let op = OpId::time_ordered(lab.now_ms, 5);
    let first = lab.apply_as(op, &Mutation::OpenCopy(that.clone())).unwrap();
    assert_eq!(lab.apply_as(op, &Mutation::OpenCopy(that)).unwrap(), first);
    let reused = lab.apply_as(op, &Mutation::OpenCopy(copy_of("/a", "/e"))).unwrap_err().code();
    assert_eq!((reused, lab.totals().uploads), (StatusCode::OpIdReuse, 1));
    let session = SessionId(op.0);
    let above = Generation(0);
    let allocate = AllocateChunks { session, first: 0, count: 1, above, exclude: Vec::new() };
    let allocate = Mutation::Allocate(allocate, vec![placement(&[1, 2, 3])]);
    assert_eq!(lab.code(&allocate), StatusCode::InvalidArgument, "its chunks come from its source");
    lab.put("/d/a", 1);
    lab.copy_step(session);
    assert_eq!(lab.commit(session, 10, 1).unwrap_err().code(), StatusCode::PreconditionFailed);
}

#[test]
fn the_sum_of_the_whole_goes_along_with_a_copy_and_its_time_if_asked() {
    let mut lab = Lab::new();
    let request = OpenUpload { mtime_ns: Some(-1_500), ..upload_of("/a") };
    let session = lab.open(request).unwrap().session;
    let commit = CommitUpload { session, chunks: Vec::new(), size: 0, chunk_count: 0, sha256: Some([9; 32]) };
    lab.apply(&Mutation::Commit(commit)).unwrap();
    let opened = lab.open_copy(OpenCopy { preserve: true, ..copy_of("/a", "/b") }).unwrap();
    let kept = lab.commit(opened.session, 0, 0).unwrap();
    assert_eq!(kept.mtime_ns, -1_500, "before 1970, and below a millisecond");
    assert_eq!(lab.copy("/a", "/c").mtime_ns, crate::coordinator::metadata::model::time::ns(lab.now_ms));
    for p in ["/a", "/b", "/c"] {
        let read = OpenRead { path: path(p), version: None, first: 0, count: 0 };
        assert_eq!(lab.reader().open_read(&read).unwrap().sha256, Some([9; 32]), "{p}");
    }
}

#[test]
fn an_upload_is_found_by_its_path_with_what_is_durable_of_it() {
    let mut lab = Lab::new();
    let with = |p: &str, tag| OpenUpload { resume: Some(tag), ..upload_of(p) };
    let session = lab.open(with("/f", 7)).unwrap().session;
    lab.open(with("/fg", 8)).unwrap();
    lab.open(upload_of("/f")).unwrap();
    let chunks = lab.allocate(session, 0, 3);
    lab.record(session, vec![stored(&chunks[0], 65_536, &[1, 2]), stored(&chunks[2], 100, &[1, 2])]).unwrap();
    lab.reallocate(session, 1, 1);
    let found = lab.reader().find_uploads(lab.now_ms, &path("/f")).unwrap();
    assert_eq!(found.iter().map(|f| (f.session, f.resume, f.stored)).collect::<Vec<_>>(), [(session, 7, 2)]);
    let page = lab.reader().uploaded_chunks(&UploadedChunks { session, first: 0 }).unwrap();
    assert_eq!(page.next, None);
    let said: Vec<_> =
        page.chunks.iter().map(|c| (c.index, c.generation.0, c.stored.map(|s| s.len))).collect();
    assert_eq!(said, [(0, 1, Some(65_536)), (1, 2, None), (2, 1, Some(100))]);
    lab.apply(&Mutation::Abort(SessionOnly { session })).unwrap();
    assert_eq!(lab.reader().find_uploads(lab.now_ms, &path("/f")).unwrap(), []);
    let gone = lab.reader().uploaded_chunks(&UploadedChunks { session, first: 0 }).unwrap_err().code();
    assert_eq!(gone, StatusCode::SessionClosed);
    lab.now_ms += lab.policy.upload_lease_ms + 1;
    lab.drain_and_delete(3);
    assert_eq!(lab.shares(), [0; 3]);
}

#[test]
fn a_chunk_that_files_share_is_counted_once() {
    let mut lab = Lab::new();
    lab.put("/a", 10);
    let before = lab.fsck();
    lab.copy("/a", "/b");
    let after = lab.fsck();
    assert_eq!((after.files, after.chunks, after.copies), (2, before.chunks, before.copies));
    assert!(before.chunks > 0 && before.copies >= before.chunks, "{before:?}");
}

#[test]
fn a_reference_that_nobody_holds_or_counts_is_found() {
    let mut lab = Lab::new();
    lab.put("/a", 10);
    lab.copy("/a", "/b");
    let holder = lab.dump().into_iter().find(|(key, _)| key.starts_with(b"f")).unwrap().0;
    let writes = vec![(holder, None)];
    lab.store
        .commit(&[crate::coordinator::metadata::table::store::Batch { conditions: Vec::new(), writes }])
        .unwrap();
    let said: Vec<_> = lab.fsck().problems.into_iter().map(|problem| problem.detail).collect();
    assert!(said.iter().any(|text| text == "it has 2 references, but 1 chunk lists hold it"), "{said:?}");
    assert!(said.iter().any(|text| text.contains("does not count this version")), "{said:?}");
}
