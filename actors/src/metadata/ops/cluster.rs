//! Birth of a cluster, begin of a reign, and who belongs to it.

use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ClusterId, Epoch, InodeId, NodeId};
use dfs_wire::status::StatusCode;

use crate::metadata::error::MetaError;
use crate::metadata::keys::{self, table};
use crate::metadata::records::{ClusterMeta, FORMAT_VERSION, Inode, NodeRecord, Totals, decode, encode};
use crate::metadata::store::{Batch, BatchOutcome, Condition, KeyRange, MetadataStore};
use crate::metadata::txn::Txn;
use crate::metadata::view::{Committed, View};

/// Who the coordinator is, after it opened its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its secret.
    pub key: ClusterKey,
    /// This reign's number, higher than every one before.
    pub epoch: Epoch,
    /// When the cluster was formatted.
    pub created_ms: u64,
    /// The coordinator's time at the end of the reign before; of the first one, the time it was opened with.
    pub time_ms: u64,
    /// Whether this start formatted it.
    pub fresh: bool,
}

impl Reign {
    /// What every batch of this reign is conditional on: a later reign stops an earlier one's writes.
    ///
    /// # Errors
    /// Never in practice: an epoch has an encoding.
    pub fn fence(&self) -> Result<Condition, MetaError> {
        Ok(Condition::Equals(keys::EPOCH.to_vec(), encode(keys::EPOCH, &self.epoch)?))
    }
}

/// Formats an empty store with `cluster` and `key`, or opens one that holds a cluster; either way a new reign begins.
///
/// # Errors
/// Those of the store; `VersionMismatch` if a newer build wrote it; damage if it is neither empty nor a cluster.
pub fn open(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    key: &ClusterKey,
    now_ms: u64,
) -> Result<Reign, MetaError> {
    let snapshot = store.snapshot()?;
    let view = Committed(snapshot.as_ref());
    let Some(meta) = view.load::<ClusterMeta>(keys::CLUSTER)? else {
        if view.any(&KeyRange::prefix(b""))? {
            return Err(MetaError::damaged(keys::CLUSTER, "it is missing, but the store is not empty"));
        }
        return format(store, cluster, key, now_ms);
    };
    if meta.format > FORMAT_VERSION {
        return Err(MetaError::refused_with_hint(
            StatusCode::VersionMismatch,
            format!("the metadata has format {}, this build knows up to {FORMAT_VERSION}", meta.format),
            "start the newer version of dfs-node that wrote it",
        ));
    }
    let before: Epoch = view.expect(keys::EPOCH)?;
    let reign = Reign {
        cluster: meta.cluster,
        key: meta.key,
        epoch: Epoch(before.0 + 1),
        created_ms: meta.created_ms,
        time_ms: view.load(keys::TIME)?.unwrap_or(now_ms),
        fresh: false,
    };
    let old = Condition::Equals(keys::EPOCH.to_vec(), encode(keys::EPOCH, &before)?);
    let batch = Batch { conditions: vec![old], writes: vec![epoch_write(reign.epoch)?] };
    committed(store, batch, reign)
}

fn epoch_write(epoch: Epoch) -> Result<(Vec<u8>, Option<Vec<u8>>), MetaError> {
    Ok((keys::EPOCH.to_vec(), Some(encode(keys::EPOCH, &epoch)?)))
}

fn format(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    key: &ClusterKey,
    now_ms: u64,
) -> Result<Reign, MetaError> {
    let meta = ClusterMeta { format: FORMAT_VERSION, cluster, key: key.clone(), created_ms: now_ms };
    let root = Inode {
        parent: InodeId::ROOT,
        name: String::new(),
        created_ms: now_ms,
        mtime_ms: now_ms,
        trashed: false,
        file: None,
    };
    let root_key = keys::inode(InodeId::ROOT);
    let writes = vec![
        (keys::CLUSTER.to_vec(), Some(encode(keys::CLUSTER, &meta)?)),
        epoch_write(Epoch(1))?,
        (keys::NEXT_INODE.to_vec(), Some(encode(keys::NEXT_INODE, &(InodeId::ROOT.0 + 1))?)),
        (keys::TOTALS.to_vec(), Some(encode(keys::TOTALS, &Totals::default())?)),
        (root_key.clone(), Some(encode(&root_key, &root)?)),
    ];
    let conditions = vec![Condition::Absent(keys::CLUSTER.to_vec())];
    let reign = Reign {
        cluster,
        key: key.clone(),
        epoch: Epoch(1),
        created_ms: now_ms,
        time_ms: now_ms,
        fresh: true,
    };
    committed(store, Batch { conditions, writes }, reign)
}

fn committed(store: &dyn MetadataStore, batch: Batch, reign: Reign) -> Result<Reign, MetaError> {
    match store.commit(&[batch])?.first() {
        Some(BatchOutcome::Applied) => Ok(reign),
        _ => Err(MetaError::refused(
            StatusCode::StaleEpoch,
            "another coordinator opened the metadata at the same time",
        )),
    }
}

/// Counters of what there is.
///
/// # Errors
/// Of the store.
pub fn totals(view: &impl View) -> Result<Totals, MetaError> {
    Ok(view.load(keys::TOTALS)?.unwrap_or_default())
}

/// Remembers a node.
///
/// # Errors
/// Of the store.
pub fn put_node(txn: &mut Txn<'_>, node: NodeId, record: &NodeRecord) -> Result<(), MetaError> {
    let key = keys::node(node);
    if txn.load::<NodeRecord>(&key)?.as_ref() == Some(record) {
        return Ok(());
    }
    txn.put(key, record)
}

/// Every node that ever registered.
///
/// # Errors
/// Of the store.
pub fn nodes(view: &impl View) -> Result<Vec<(NodeId, NodeRecord)>, MetaError> {
    let mut out = Vec::new();
    let mut range = KeyRange::prefix(table::NODE);
    loop {
        let page = view.scan(&range, 256)?;
        let Some((last, _)) = page.last() else { return Ok(out) };
        range = range.after(last);
        for (key, value) in &page {
            let id = key.strip_prefix(table::NODE).and_then(|id| <[u8; 16]>::try_from(id).ok());
            let id = id.ok_or_else(|| MetaError::damaged(key, "not the key of a node"))?;
            out.push((NodeId::from_bytes(id), decode(key, value)?));
        }
    }
}
