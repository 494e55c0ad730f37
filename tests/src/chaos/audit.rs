//! The last look at a cluster: what `status`, `fsck` and every copy of every chunk say, once they had time to become well.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dfs_client::{Client, DfsPath, Error, admin::ForgetNode, metadata::EntryKind};
use dfs_wire::message::membership::NodeState;
use futures_util::{StreamExt as _, stream};

use super::ground::Ground;
use super::judge::Evidence;
use super::watch::{complaints, hasty};
use crate::path;

/// Time between two looks.
const STEP: Duration = Duration::from_millis(500);
/// Files whose copies are read at the same time.
const READS: usize = 4;

/// What one look found.
#[derive(Debug, Default)]
struct Look {
    findings: Vec<String>,
    fsck: Vec<String>,
    chunks: u64,
    short: Vec<String>,
}

/// Looks again and again until all is well or `within` is over, and adds what the last look found.
pub(super) async fn audit(
    ground: &Arc<dyn Ground>,
    datanodes: usize,
    within: Duration,
    evidence: &mut Evidence,
) {
    let deadline = Instant::now() + within;
    loop {
        let look = match look(ground, datanodes).await {
            Ok(look) => look,
            Err(error) => Look { findings: vec![format!("{error}")], ..Look::default() },
        };
        let clean = look.findings.is_empty() && look.fsck.is_empty() && look.short.is_empty();
        if clean || Instant::now() > deadline {
            let Look { findings, fsck, chunks, short } = look;
            (evidence.findings, evidence.fsck) = (findings, fsck);
            (evidence.chunks, evidence.short) = (chunks, short);
            return;
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn look(ground: &Arc<dyn Ground>, datanodes: usize) -> Result<Look, Error> {
    let mut config = ground.config();
    "dfs-chaos".clone_into(&mut config.agent);
    let client = Client::connect(config).await?;
    let mut look = Look { findings: complaints(&client.status().await?, datanodes), ..Look::default() };
    let mut cursor = None;
    loop {
        let step = client.fsck_step(cursor).await?;
        let told = step.problems.into_iter().map(|problem| format!("{:?}: {}", problem.kind, problem.detail));
        look.fsck.extend(told);
        cursor = step.next;
        if cursor.is_none() {
            break;
        }
    }
    let entries = client.list_all(&path("/"), true).await?;
    let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File).map(|entry| entry.path);
    let checks = stream::iter(files).map(|file| check(client.clone(), file)).buffer_unordered(READS);
    for (chunks, short) in checks.collect::<Vec<_>>().await {
        look.chunks += chunks;
        look.short.extend(short);
    }
    look.short.sort();
    Ok(look)
}

/// Reads every copy of a file: its chunks, and those that are not as they should be.
async fn check(client: Client, file: DfsPath) -> (u64, Vec<String>) {
    let report = match client.verify(&file, None).await {
        Ok(report) => report,
        Err(error) => return (0, vec![format!("{file}: {error}")]),
    };
    let wanted = usize::from(report.stat.replication);
    let bad = report
        .chunks
        .iter()
        .filter(|chunk| chunk.good() < wanted || chunk.copies.iter().any(|copy| copy.result.is_err()));
    let told = bad.map(|chunk| {
        format!("{file} chunk {}: {} good of {} copies", chunk.chunk, chunk.good(), chunk.copies.len())
    });
    (report.chunks.len() as u64, told.collect())
}

/// Forgets datanodes whose place an empty one took, once nothing needs what they had: an operator's word, and no other is
/// given in a run. Tells which.
pub(super) async fn forget_lost(ground: &Arc<dyn Ground>) -> Result<Vec<String>, Error> {
    let client = Client::connect(hasty(&**ground)).await?;
    let mut forgotten = vec![];
    for node in client.nodes().await?.into_iter().filter(|node| node.state == NodeState::Lost) {
        let word = ForgetNode { node: node.node.to_string(), accept_loss: false, dry_run: false };
        // What is needed yet is asked for again later.
        if client.forget_node(word).await.is_ok() {
            forgotten.push(format!("forget {}, whose place another took", node.name));
        }
    }
    Ok(forgotten)
}
