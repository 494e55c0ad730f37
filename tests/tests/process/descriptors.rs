//! A node with too few file descriptors: some work is turned away, no disk is called failed, nothing has to be restarted.

use std::time::Duration;

use dfs_client::{PutOptions, PutSource};
use dfs_tests::{Cluster, Content, Options, eventually, path};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

#[tokio::test(flavor = "multi_thread")]
async fn too_few_descriptors_fail_no_disk_and_are_forgotten_when_there_are_more() {
    let cluster = Cluster::start(3, Options::default());
    let client = cluster.client().await;
    let victim = cluster.datanode(0);
    let pid = i32::try_from(victim.pid()).ok().and_then(Pid::from_raw);
    let usual = prlimit(pid, Resource::Nofile, getrlimit(Resource::Nofile)).expect("its limit");
    assert_eq!(usual.current, usual.maximum, "raised to the hard limit");
    prlimit(pid, Resource::Nofile, usual).expect("its limit again");
    // Room for a few files and none for a busy node.
    let few = Rlimit { current: Some(victim.fds() as u64 + 4), ..usual };
    prlimit(pid, Resource::Nofile, few).expect("fewer");
    let puts = (0..24).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let content = Content::new("few", number, 700_000);
            client
                .put(PutSource::from(content.bytes()), &path(&format!("/f{number}")), PutOptions::default())
                .await
        })
    });
    let mut stored = vec![];
    for (number, put) in puts.collect::<Vec<_>>().into_iter().enumerate() {
        stored.extend(put.await.expect("no panic").is_ok().then_some(number as u64));
    }
    prlimit(pid, Resource::Nofile, usual).expect("as before");
    let (_, metrics) = victim.get("/metrics").expect("metrics");
    let writable = metrics.lines().find(|line| line.starts_with("dfs_disk_writable")).expect("a gauge");
    assert!(writable.ends_with(" 1.0"), "{writable}");
    for number in stored {
        let content = Content::new("few", number, 700_000);
        content.expect("a file", &cluster.read(&client, &path(&format!("/f{number}"))).await.expect("read"));
    }
    let copies = victim.chunk_files().len();
    let after = Content::new("after", 1, 300_000);
    eventually("it takes chunks again", Duration::from_secs(30), async || {
        let put = client.put(PutSource::from(after.bytes()), &path("/after"), PutOptions::default()).await;
        put.map_err(|error| format!("{error:?}"))?;
        if victim.chunk_files().len() > copies { Ok(()) } else { Err("elsewhere".to_owned()) }
    })
    .await;
}
