//! Keys parse back, and sort as their tables are read.

use super::*;

#[test]
fn keys_parse_back() {
    assert_eq!(parse_entry(&entry(InodeId(7), "ü b")), Some((InodeId(7), "ü b")));
    assert_eq!(parse_segment(&segment(VersionId(8), 9)), Some((VersionId(8), 9)));
    assert_eq!(parse_chunk(&chunk(ChunkId(5))), Some(ChunkId(5)));
    assert_eq!(parse_lease(&lease(1, SessionId(2))), Some(SessionId(2)));
    assert_eq!(parse_event(&event(12)), Some(12));
    assert_eq!(parse_outcome(&outcome(OpId(2))), Some(OpId(2)));
    assert_eq!(parse_trash(&trash(InodeId(3))), Some(InodeId(3)));
    assert_eq!(parse_trash_walk(&trash_walk(InodeId(3))), Some(InodeId(3)));
    assert_eq!(parse_trash_expiry(&trash_expiry(9, InodeId(3))), Some(InodeId(3)));
    assert_eq!(parse_purge(&purge(InodeId(3))), Some(InodeId(3)));
    assert_eq!(parse_release(&release(9, VersionId(3))), Some(VersionId(3)));
    let holding = (ChunkId(1), VersionId(2), 3);
    assert_eq!(parse_holder(&holder(holding.0, holding.1, holding.2)), Some(holding));
    let at = "/a".parse().unwrap();
    assert_eq!(parse_upload_at(&upload_at(&at, SessionId(4))), Some(SessionId(4)));
    let stone = (NodeId(1), ChunkKey { chunk: ChunkId(2), generation: Generation(3) });
    assert_eq!(parse_tombstone(&tombstone(stone.0, stone.1)), Some(stone));
    assert_eq!(parse_tombstone(b"x123"), None);
    assert_eq!(parse_copy(&copy(NodeId(1), ChunkId(2))), Some((NodeId(1), ChunkId(2))));
    assert_eq!(parse_copy(b"y123"), None);
    assert_eq!(parse_forgetting(&forgetting(NodeId(3))), Some(NodeId(3)));
}

#[test]
fn a_group_is_known_by_its_copies_in_any_order() {
    let (a, b) = ((NodeId(9), CopyState::Good), (NodeId(1), CopyState::Missing));
    let key = group(3, [a, b].into_iter());
    assert_eq!(key, group(3, [b, a].into_iter()));
    assert_eq!(parse_group(&key), Some((3, vec![b, a])));
    assert_eq!(parse_group(&group(2, std::iter::empty())), Some((2, vec![])));
    assert_eq!(parse_group(&key[..key.len() - 1]), None);
    for (state, _) in STATES {
        assert_eq!(parse_group(&group(1, [(a.0, state)].into_iter())), Some((1, vec![(a.0, state)])));
    }
}

#[test]
fn the_latest_deletion_of_a_path_comes_first_and_paths_do_not_mix() {
    let a: DfsPath = "/a".parse().unwrap();
    let ab: DfsPath = "/ab".parse().unwrap();
    assert!(trash_path(&a, 20, InodeId(1)) < trash_path(&a, 10, InodeId(2)));
    assert!(!trash_path(&ab, 1, InodeId(1)).starts_with(&trash_paths(&a)));
    assert_eq!(parse_trash_path(&trash_path(&a, 20, InodeId(4))), Some(InodeId(4)));
}
