//! Files put, read, deleted and abandoned.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_file_is_put_read_and_explained() {
    let rig = with_nodes(4).await;
    rig.meta(MetadataRequest::Mkdir(Mkdir { path: path("/a"), parents: false })).await.unwrap();
    let opened = rig.open("/a/f", 2).await.unwrap();
    assert_eq!((opened.epoch, opened.min_ack, opened.allocations.len()), (rig.reign.epoch, 2, 2));
    let chunks = vec![rig.stored(&opened.allocations[0], MIB), rig.stored(&opened.allocations[1], 5)];
    let stat = rig.commit(opened.session, chunks, u64::from(MIB) + 5).await.unwrap();
    assert_eq!((stat.size, stat.chunk_count), (u64::from(MIB) + 5, 2));
    let read = rig.read("/a/f").await.unwrap();
    assert_eq!((read.stat.clone(), read.chunks.len()), (stat.at(read.stat.path), 2));
    for chunk in &read.chunks {
        assert_eq!((chunk.replicas.len(), chunk.grant.op), (3, GrantOp::Read));
        for replica in &chunk.replicas {
            let key = rig.reign.key.node_key(replica.node);
            assert!(chunk.grant.verify(&key, &replica.mac) && replica.address.starts_with("10.0.0."));
        }
    }
    let explain = MetadataRequest::Explain(Explain { path: path("/a/f"), first: 0 });
    let MetadataResponse::Explained(why) = rig.meta(explain).await.unwrap() else { panic!() };
    let words: Vec<_> = why.chunks[0].reasons.iter().map(|r| (r.chosen, r.name.as_str())).collect();
    assert_eq!(words.iter().filter(|w| w.0).count(), 3);
    assert!(words.len() == 4 && words[..3].iter().all(|w| w.0) && words[3].1.starts_with("dn-"), "{words:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_needs_receipts_of_the_nodes_that_were_chosen() {
    let rig = with_nodes(4).await;
    let opened = rig.open("/f", 1).await.unwrap();
    let good = rig.stored(&opened.allocations[0], 100);
    let outsider = (1..=4).map(NodeId).find(|n| good.receipts.iter().all(|r| r.node != *n)).unwrap();
    type Forge = Box<dyn Fn(&mut StoredChunk)>;
    let forged: [(&str, Forge); 5] = [
        ("length", Box::new(|c| c.receipts[0].len = 101)),
        ("too few", Box::new(|c| c.receipts.truncate(1))),
        ("twice the same", Box::new(|c| c.receipts[1] = c.receipts[0].clone())),
        ("generation", Box::new(|c| c.receipts.iter_mut().for_each(|r| r.generation = Generation(9)))),
        ("another's name", Box::new(move |c| c.receipts[0].node = outsider)),
    ];
    for (what, forge) in forged {
        let mut chunk = good.clone();
        forge(&mut chunk);
        let refused = rig.commit(opened.session, vec![chunk], 100).await;
        assert!(refused.is_err(), "{what}");
        assert_eq!(rig.read("/f").await.unwrap_err().code, StatusCode::NotFound, "{what}");
    }
    rig.commit(opened.session, vec![good], 100).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nodes_that_failed_the_client_are_passed_over() {
    let rig = with_nodes(5).await;
    let opened = rig.open("/f", 1).await.unwrap();
    let bad = opened.allocations[0].targets[0].node;
    let again = AllocateChunks {
        session: opened.session,
        first: 0,
        count: 1,
        above: opened.allocations[0].grant.generation,
        exclude: vec![bad],
    };
    let MetadataResponse::Allocated(word) =
        rig.meta(MetadataRequest::AllocateChunks(again.clone())).await.unwrap()
    else {
        panic!()
    };
    let allocation = &word.allocations[0];
    assert!(allocation.targets.len() == 3 && allocation.targets.iter().all(|t| t.node != bad));
    assert!(allocation.grant.generation > opened.allocations[0].grant.generation);
    let closed = AllocateChunks { session: SessionId(1), exclude: vec![], ..again.clone() };
    let refused = rig.meta(MetadataRequest::AllocateChunks(closed)).await.unwrap_err();
    assert_eq!(refused.code, StatusCode::SessionClosed);
}

#[tokio::test(start_paused = true)]
async fn what_certainly_has_no_room_is_refused_early() {
    let rig = with_nodes(3).await;
    let request = OpenUpload {
        path: path("/big"),
        chunk_size: 64 * MIB,
        replication: 3,
        precondition: Precondition::Any,
        parents: false,
        size_hint: Some(1 << 39 | 1),
        allocate: 0,
        mtime_ns: None,
        resume: None,
    };
    let refused = rig.meta(MetadataRequest::OpenUpload(request)).await.unwrap_err();
    assert_eq!(refused.code, StatusCode::NoSpace);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_file_becomes_tombstones_until_each_node_confirms() {
    let rig = with_nodes(3).await;
    let allocation = rig.put("/f").await;
    let delete = Delete { path: path("/f"), recursive: false, skip_trash: true, if_match: None };
    rig.meta(MetadataRequest::Delete(delete)).await.unwrap();
    assert_eq!(rig.read("/f").await.unwrap_err().code, StatusCode::NotFound);
    rig.pass(300, &[1, 2, 3]).await;
    assert!(rig.beat(1, &[], &[]).await.tombstones.is_empty(), "the read lease has not ended");
    rig.pass(400, &[1, 2, 3]).await;
    let copy = [allocation.grant.chunk_key()];
    for id in 1..=3 {
        assert_eq!(rig.beat(id, &[], &[]).await.tombstones, copy);
        assert_eq!(rig.beat(id, &[], &[]).await.tombstones, copy, "repeated until confirmed");
        assert!(rig.beat(id, &copy, &[]).await.tombstones.is_empty());
    }
    let status = rig.status();
    assert_eq!((status.chunks, status.tombstones, status.files), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_collector_goes_round_and_ends_abandoned_uploads() {
    let rig = with_nodes(3).await;
    let opened = rig.open("/f", 1).await.unwrap();
    rig.pass(1_000, &[1, 2, 3]).await;
    let status = rig.status();
    assert_eq!(status.uploads_open, 0, "its lease has ended");
    let chunk = rig.stored(&opened.allocations[0], 100);
    let late = rig.commit(opened.session, vec![chunk], 100).await.unwrap_err();
    assert_eq!(late.code, StatusCode::SessionClosed);
    assert_eq!(rig.beat(1, &[], &[]).await.tombstones.len(), 1);
    let report = rig.gc.ask(GcMsg::Report, Duration::from_secs(1)).await.unwrap();
    assert!(report.cycles > 100 && report.steps.iter().all(|(_, count)| count.failures == 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_tree_is_taken_apart_whoever_is_killed_meanwhile() {
    let rig = with_nodes(3).await;
    rig.meta(MetadataRequest::Mkdir(Mkdir { path: path("/d"), parents: false })).await.unwrap();
    for i in 0..40 {
        rig.put(&format!("/d/{i}")).await;
    }
    let delete = Delete { path: path("/d"), recursive: true, skip_trash: true, if_match: None };
    rig.meta(MetadataRequest::Delete(delete)).await.unwrap();
    rig.pass(596, &[1, 2, 3]).await;
    for kind in ["gc", "metadata-writer", "gc"] {
        assert_eq!(rig.tree.strike(&StrikeTarget::Kind(kind.to_owned()), Strike::Kill), 1);
        rig.pass(6, &[1, 2, 3]).await;
    }
    rig.pass(30, &[1, 2, 3]).await;
    let status = rig.status();
    assert_eq!((status.files, status.directories, status.tombstones), (0, 0, 120));
    for id in 1..=3 {
        let told = rig.beat(id, &[], &[]).await.tombstones;
        rig.beat(id, &told, &[]).await;
    }
    assert_eq!(rig.status().chunks, 0);
    let MetadataResponse::Fsck(step) = rig.meta(MetadataRequest::Fsck(Fsck { cursor: None })).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(step.problems, []);
}
