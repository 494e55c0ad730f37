//! Reads: who gets a place, who keeps it, and what a read costs.

use super::*;

impl World {
    /// Asks for `len` bytes of `chunk` at the first node; credit for `slabs` frames is granted, if any.
    async fn ask(&self, link: &Link, chunk: u128, len: u32, slabs: usize) -> Stream {
        let grant = grant(GrantOp::Read, chunk);
        let mac = grant.sign(&self.nodes[0].key);
        let body = Request::Chunk(ChunkRequest::Read(ReadChunk { grant, mac, offset: 0, len, facts: false }));
        let stream = link.open(&request(body), Bytes::new()).unwrap();
        if slabs > 0 {
            stream.grant(SlabBudget::new(SlabPool::new(64), 64).reserve(slabs).await);
        }
        stream
    }

    fn buffers(&self) -> usize {
        Arc::strong_count(&self.nodes[0].store.buffers) - 1
    }
}

#[tokio::test(start_paused = true)]
async fn short_reads_hold_their_places_until_their_bytes_have_left() {
    let w = world(16).await;
    let link = w.link(0).await;
    w.put(&link, 1, &content(2 * MIB)).await.unwrap();
    let mut slow = vec![];
    for _ in 0..40 {
        slow.push(w.ask(&link, 1, u32::MAX, 1).await);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Eight places, a reader and two buffers of 1 MiB for each.
    assert!((8..=24).contains(&w.buffers()), "{} buffers", w.buffers());
    drop(slow);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(w.buffers(), 0);
}

#[tokio::test(start_paused = true)]
async fn readers_without_credit_take_no_place_from_others() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(4 * MIB);
    w.put(&link, 1, &bytes).await.unwrap();
    let mut mute = vec![];
    for _ in 0..20 {
        mute.push(w.ask(&link, 1, u32::MAX, 0).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tokio::time::Instant::now();
    assert_eq!(read(&link, &w.nodes[0], 1, 0, u32::MAX).await.unwrap(), bytes);
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    assert_eq!(w.buffers(), 0);
}

#[tokio::test(start_paused = true)]
async fn slow_readers_make_room_for_those_who_wait() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(4 * MIB);
    w.put(&link, 1, &bytes).await.unwrap();
    let mut slow = vec![];
    for _ in 0..8 {
        slow.push(w.ask(&link, 1, u32::MAX, 1).await);
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(w.buffers() > 0, "nobody waits: they are let be");
    assert_eq!(read(&link, &w.nodes[0], 1, 0, u32::MAX).await.unwrap(), bytes);
    let told = loop {
        match slow[0].recv().await {
            Ok(Event::Data(_)) => {}
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(told.code, StatusCode::Busy, "{told}");
}

#[tokio::test(start_paused = true)]
async fn readers_who_leave_leave_the_queue() {
    let w = world(16).await;
    let link = w.link(0).await;
    w.put(&link, 1, &content(4 * MIB)).await.unwrap();
    let mut slow = vec![];
    for _ in 0..8 {
        slow.push(w.ask(&link, 1, u32::MAX, 1).await);
    }
    let mut waiting = vec![];
    for _ in 0..8 {
        waiting.push(w.ask(&link, 1, u32::MAX, 1).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(waiting);
    // Were they still waiting, the slow ones would have to make room.
    tokio::time::sleep(Duration::from_secs(10)).await;
    for stream in &slow {
        assert!(matches!(stream.recv().await, Ok(Event::Data(_))));
        let more = tokio::time::timeout(Duration::from_millis(100), stream.recv()).await;
        assert!(!matches!(more, Ok(Err(_))), "{more:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_never_answers_fails_its_uploads_and_reads_in_time() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(MIB);
    w.put(&link, 1, &bytes).await.unwrap();
    w.nodes[0].store.mute.store(true, Ordering::Relaxed);
    let failed = tokio::time::timeout(Duration::from_secs(25), w.put(&link, 2, &bytes)).await;
    let status = failed.expect("an answer").unwrap_err();
    assert_eq!((status.code, status.node), (StatusCode::DeadlineExceeded, Some(w.nodes[0].id)));
    let failed = tokio::time::timeout(Duration::from_secs(25), read(&link, &w.nodes[0], 1, 0, 10)).await;
    let status = failed.expect("an answer").unwrap_err();
    assert_eq!((status.code, status.node), (StatusCode::DeadlineExceeded, Some(w.nodes[0].id)));
    w.nodes[0].store.mute.store(false, Ordering::Relaxed);
    w.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_given_up_and_frees_its_place() {
    let w = world(16).await;
    let link = w.link(0).await;
    let bytes = content(4 * MIB);
    w.put(&link, 1, &bytes).await.unwrap();
    let grant = grant(GrantOp::Read, 1);
    let mac = grant.sign(&w.nodes[0].key);
    let ask = ReadChunk { grant, mac, offset: 0, len: u32::MAX, facts: false };
    // More than are served at once, and none of them ever grants a byte of credit.
    let stuck: Vec<_> = (0..20)
        .map(|_| link.open(&request(Request::Chunk(ChunkRequest::Read(ask.clone()))), Bytes::new()).unwrap())
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for stream in &stuck[..8] {
        let told = tokio::time::timeout(Duration::from_secs(60), stream.recv()).await.expect("a deadline");
        assert_eq!(told.unwrap_err().code, StatusCode::DeadlineExceeded);
    }
    drop(stuck);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(read(&link, &w.nodes[0], 1, 0, u32::MAX).await.unwrap(), bytes);
}
