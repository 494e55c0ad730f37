//! Join tokens, certified keys, and keys that are not believed any more.

use dfs_wire::id::NodeId;
use dfs_wire::identity::{Identity, KeyDigest};
use dfs_wire::limits::REVOKED_MAX;
use dfs_wire::message::enroll::JoinRole;
use dfs_wire::secret::{Secret, SecretDigest};
use dfs_wire::status::StatusCode;

use super::Lab;
use crate::coordinator::metadata::model::outcome::{Outcome, StepProgress};
use crate::coordinator::metadata::model::records::{JoinTokenRecord, NodeRecord, Standing};
use crate::coordinator::metadata::ops::cluster;
use crate::coordinator::metadata::ops::mutation::Mutation;
use crate::coordinator::metadata::ops::trust::{Joining, NewKey};

/// When certificates end, by either clock, which show about 1,000,000; and when that is not remembered any more.
const LATER: u64 = 9_000_000;
const MUCH_LATER: u64 = LATER + 25 * 3600 * 1000;

fn secret(n: u8) -> SecretDigest {
    Secret::new([n; 32]).digest()
}

fn put(lab: &mut Lab, n: u8, node: Option<u128>, lasts_ms: u64) -> Result<Outcome, StatusCode> {
    let (node, expires_ms) = (node.map(NodeId), lab.now_ms + lasts_ms);
    let expires_wall_ms = expires_ms + lab.wall_ahead_ms;
    let record = JoinTokenRecord { role: JoinRole::Datanode, node, expires_ms, expires_wall_ms, used: None };
    lab.apply(&Mutation::PutJoinToken(secret(n), record)).map_err(|error| error.into_status().code)
}

fn join(lab: &mut Lab, n: u8, node: u128, key: u8) -> Result<(), StatusCode> {
    let joining = Joining {
        secret: secret(n),
        role: JoinRole::Datanode,
        node: NodeId(node),
        key: KeyDigest([key; 32]),
    };
    lab.apply(&Mutation::Join(joining, LATER)).map(|_| ()).map_err(|error| error.into_status().code)
}

fn note(who: &Identity, key: KeyDigest, asked_with: Option<KeyDigest>) -> Mutation {
    Mutation::NoteKey(NewKey { who: who.clone(), key, not_after_ms: LATER, asked_with })
}

fn revoke(lab: &mut Lab, node: u128) -> u64 {
    match lab.apply(&Mutation::RevokeKeys(Identity::Datanode(NodeId(node)))).unwrap() {
        Outcome::Progress(StepProgress { done, .. }) => done,
        other => panic!("{other:?}"),
    }
}

fn member(lab: &mut Lab, id: u128) {
    let record = NodeRecord {
        name: format!("dn-{id}"),
        zone: String::new(),
        address: format!("h:{id}"),
        registered_ms: 1,
        standing: Standing::Member,
        since_ms: 1,
    };
    lab.apply(&Mutation::PutNodes(vec![(NodeId(id), record)])).unwrap();
}

const WORTHLESS: Result<(), StatusCode> = Err(StatusCode::Unauthenticated);
const ANOTHERS: Result<(), StatusCode> = Err(StatusCode::PermissionDenied);

#[test]
fn a_token_is_good_for_one_node_and_one_key() {
    let mut lab = Lab::new();
    assert_eq!(join(&mut lab, 1, 10, 1), WORTHLESS, "nobody made it");
    put(&mut lab, 1, None, 1_000).unwrap();
    assert_eq!(join(&mut lab, 1, 10, 1), Ok(()));
    assert_eq!(join(&mut lab, 1, 10, 1), Ok(()), "the answer may have been lost");
    assert_eq!(join(&mut lab, 1, 10, 2), WORTHLESS, "another key");
    assert_eq!(join(&mut lab, 1, 11, 1), WORTHLESS, "another node");
    for (later, ahead) in [(1_001, 0), (0, 1_001)] {
        let (now_ms, wall_ahead_ms) = (lab.now_ms, lab.wall_ahead_ms);
        (lab.now_ms, lab.wall_ahead_ms) = (now_ms + later, wall_ahead_ms + ahead);
        assert_eq!(join(&mut lab, 1, 10, 1), WORTHLESS, "its time is over, by one clock or the other");
        (lab.now_ms, lab.wall_ahead_ms) = (now_ms, wall_ahead_ms);
    }
}

#[test]
fn nobody_takes_the_place_of_a_node_that_is_known() {
    let mut lab = Lab::new();
    member(&mut lab, 10);
    put(&mut lab, 1, None, 1_000).unwrap();
    assert_eq!(join(&mut lab, 1, 10, 1), ANOTHERS, "it registered");
    assert_eq!(join(&mut lab, 1, 11, 1), Ok(()), "the token is as good as before");
    put(&mut lab, 2, None, 1_000).unwrap();
    assert_eq!(join(&mut lab, 2, 11, 2), ANOTHERS, "it has a certificate");
    assert_eq!(put(&mut lab, 3, Some(99), 1_000), Err(StatusCode::NotFound));
    put(&mut lab, 3, Some(10), 1_000).unwrap();
    assert_eq!(join(&mut lab, 3, 12, 3), ANOTHERS);
    assert_eq!(join(&mut lab, 3, 10, 3), Ok(()));
}

#[test]
fn keys_that_are_revoked_stay_so_until_their_certificates_have_ended() {
    let mut lab = Lab::new();
    for (token, node) in [(1, 10), (2, 11)] {
        put(&mut lab, token, None, 1_000).unwrap();
        join(&mut lab, token, node, token).unwrap();
    }
    let who = Identity::Datanode(NodeId(10));
    lab.apply(&note(&who, KeyDigest([7; 32]), None)).unwrap();
    assert_eq!(revoke(&mut lab, 10), 2);
    let all = lab.reader().revoked_keys().unwrap();
    assert_eq!((all.version, all.keys.len()), (1, 2));
    assert_eq!(revoke(&mut lab, 10), 0, "nothing is left of it");
    assert_eq!(lab.reader().revoked_keys().unwrap().version, 1);
    let stolen = KeyDigest([7; 32]);
    for again in [note(&who, stolen, None), note(&who, KeyDigest([8; 32]), Some(stolen))] {
        let again = lab.apply(&again).unwrap_err();
        assert_eq!(again.into_status().code, StatusCode::Unauthenticated, "not with a key that was stolen");
    }
    put(&mut lab, 3, None, 1_000).unwrap();
    assert_eq!(join(&mut lab, 3, 10, 3), ANOTHERS, "it is known still");
    lab.wall_ahead_ms = 1_000 * MUCH_LATER;
    assert_eq!(revoke(&mut lab, 11), 1);
    let all = lab.reader().revoked_keys().unwrap();
    assert_eq!((all.version, all.keys.len()), (2, 3), "a wall clock that is wrong takes nothing away");
    (lab.wall_ahead_ms, lab.now_ms) = (0, MUCH_LATER);
    let new = Identity::User("ada".to_owned());
    let key = NewKey { who: new.clone(), key: stolen, not_after_ms: 2 * MUCH_LATER, asked_with: None };
    assert!(lab.apply(&Mutation::NoteKey(key)).is_err(), "remembered until the next is revoked");
    let key =
        NewKey { who: new.clone(), key: KeyDigest([9; 32]), not_after_ms: 2 * MUCH_LATER, asked_with: None };
    lab.apply(&Mutation::NoteKey(key)).unwrap();
    lab.apply(&Mutation::RevokeKeys(new)).unwrap();
    let all = lab.reader().revoked_keys().unwrap();
    assert_eq!((all.version, all.keys.len()), (3, 1), "those that ended are forgotten");
}

#[test]
fn tokens_and_keys_have_bounds() {
    let mut lab = Lab::new();
    let who = Identity::User("ada".to_owned());
    let noted = |lab: &mut Lab, n: u64| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        lab.apply(&note(&who, KeyDigest(key), None)).map_err(|e| e.into_status().code)
    };
    let taken = (0..100).take_while(|n| noted(&mut lab, *n).is_ok()).count();
    assert!((8..=256).contains(&taken), "{taken}");
    for round in 0..(REVOKED_MAX / taken) as u64 {
        lab.apply(&Mutation::RevokeKeys(who.clone())).unwrap();
        (0..taken as u64).for_each(|n| drop(noted(&mut lab, 1_000 * (round + 1) + n).unwrap()));
    }
    let refused = lab.apply(&Mutation::RevokeKeys(who.clone())).unwrap_err().into_status();
    assert_eq!(refused.code, StatusCode::PreconditionFailed, "{refused}");
    let made = (0..=u8::MAX).filter(|n| put(&mut lab, *n, None, 1_000).is_ok()).count();
    assert_eq!(made, 256);
    lab.now_ms += 2_000;
    (0..8).for_each(|_| drop(put(&mut lab, 1, None, 1_000).unwrap()));
    let left = (0..=u8::MAX).filter(|n| lab.reader().join_token(secret(*n)).unwrap().is_some()).count();
    assert_eq!(left, 1, "those whose time is over are forgotten");
}

#[test]
fn an_authority_is_founded_once_and_in_its_own_reign() {
    use crate::coordinator::metadata::model::records::AuthorityRecord;
    let lab = Lab::new();
    let stored = || cluster::trusted(lab.store.as_ref()).unwrap().0;
    assert_eq!(stored(), None);
    let first = AuthorityRecord { certificate: vec![1], key: vec![2] };
    let found = |record| cluster::found(lab.store.as_ref(), &lab.reign, record);
    found(&first).unwrap();
    assert!(found(&AuthorityRecord { certificate: vec![3], key: vec![4] }).is_err());
    assert_eq!(stored(), Some(first));
}
