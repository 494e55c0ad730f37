//! Birth of a cluster, begin of a reign, and who belongs to it.
//!
//! # Reigns and old copies of the metadata
//!
//! A reign is known by its epoch. Each is higher than all before it in the same metadata, no lower than the time it
//! begins at, and partly random: two reigns that begin with the same copy of the metadata have different epochs, and the
//! later one nearly always the higher. The metadata remembers all epochs it has been through ([`Reigns`]).
//!
//! A datanode keeps the epoch of the reign that took it in last, and names it when it registers. An epoch that the
//! metadata has not been through proves that the metadata is an old copy: the cluster went on without it.
//!
//! Every group that a reign commits raises the commit position. A datanode also keeps the highest position it has heard of
//! in that reign, durably before it obeys any order to delete. A reign that the metadata knows, and a position beyond where
//! the next reign branched off from it, prove the same: the copy was made while that reign went on.
//!
//! Whatever was written since would look like garbage to such a copy. From the proof on ([`UnknownReign`], durable) such nodes are not taken in,
//! no step of garbage collection runs, no node is told to delete anything, and health shows an error, until a newer copy
//! is in its place or an operator gives those reigns up ([`give_up`]). Where the proof is missing, so is the danger: a
//! node that has seen no unknown reign holds nothing that was written in one.

use dfs_wire::auth::ClusterKey;
use dfs_wire::id::{ClusterId, Epoch, InodeId, NodeId};
use dfs_wire::status::StatusCode;

use crate::coordinator::authority::KeyWrap;
use crate::coordinator::metadata::model::records::{
    AuthorityRecord, ClusterMeta, Inode, Known, NodeRecord, Reigns, RevokedKeys, Standing, StoredKey,
    UnknownReign,
};
use crate::coordinator::metadata::model::time::ns;
use crate::coordinator::metadata::table::error::MetaError;
use crate::coordinator::metadata::table::format::{FORMAT_VERSION, decode, encode};
use crate::coordinator::metadata::table::keys::{self, table};
use crate::coordinator::metadata::table::store::{Batch, BatchOutcome, Condition, KeyRange, MetadataStore};
use crate::coordinator::metadata::table::totals::Totals;
use crate::coordinator::metadata::table::txn::Txn;
use crate::coordinator::metadata::table::view::{Committed, View};

/// The random part of an epoch, in milliseconds: small beside the time between two reigns.
const EPOCH_SPREAD: u64 = 1 << 16;

/// Who the coordinator is, after it opened its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reign {
    /// Made when the store was formatted, of the time and at random.
    pub cluster: ClusterId,
    /// Secret: what the keys of nodes and of grants come from.
    pub key: ClusterKey,
    /// This reign's number, higher than every one before.
    pub epoch: Epoch,
    /// When the cluster was formatted.
    pub created_ms: u64,
    /// The coordinator's time at the end of the reign before; of the first one, the time it was opened with.
    pub time_ms: u64,
    /// The commit position at its begin.
    pub position: u64,
    /// Whether this start formatted it.
    pub fresh: bool,
}

impl Reign {
    /// What every batch of this reign is conditional on: a later reign stops an earlier one's writes.
    ///
    /// # Errors
    /// Never in practice: an epoch has an encoding.
    pub fn fence(&self) -> Result<Condition, MetaError> {
        in_reign(self.epoch)
    }
}

/// Formats an empty store with `cluster` and `key`, or opens one that holds a cluster; either way a new reign begins.
/// `cluster` is random each time: it names a new cluster, and makes the epoch of the reign its own. The key is stored wrapped; one
/// that an older build left bare is wrapped now.
///
/// # Errors
/// Those of the store; `VersionMismatch` if a newer build wrote it; damage if it is neither empty nor a cluster.
pub fn open(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    key: &ClusterKey,
    wrap: &dyn KeyWrap,
    now_ms: u64,
) -> Result<Reign, MetaError> {
    let snapshot = store.snapshot()?;
    let view = Committed(snapshot.as_ref());
    let Some(meta) = view.load::<ClusterMeta>(keys::CLUSTER)? else {
        if view.any(&KeyRange::prefix(b""))? {
            return Err(MetaError::damaged(keys::CLUSTER, "it is missing, but the store is not empty"));
        }
        return format(store, cluster, (key, wrapped(wrap, key)?), now_ms);
    };
    if meta.format > FORMAT_VERSION {
        return Err(MetaError::refused_with_hint(
            StatusCode::VersionMismatch,
            format!("the metadata has format {}, this build knows up to {FORMAT_VERSION}", meta.format),
            "start the newer version of dfs-node that wrote it",
        ));
    }
    let before: Epoch = view.require(keys::EPOCH)?;
    let mut reigns: Reigns = view.require(keys::REIGNS)?;
    let epoch = next_epoch(before.max(reigns.horizon), now_ms, cluster);
    let position = position(&view)?;
    reigns.push(epoch, position);
    let mut writes = epoch_writes(epoch, &reigns)?;
    let key = match &meta.key {
        StoredKey::Wrapped(wrapped) => unwrapped(wrap, wrapped)?,
        StoredKey::Bare(key) => {
            let now = ClusterMeta { key: wrapped(wrap, key)?, ..meta.clone() };
            writes.push((keys::CLUSTER.to_vec(), Some(encode(keys::CLUSTER, &now)?)));
            key.clone()
        }
    };
    let reign = Reign {
        cluster: meta.cluster,
        key,
        epoch,
        created_ms: meta.created_ms,
        time_ms: view.load(keys::TIME)?.unwrap_or(now_ms),
        position,
        fresh: false,
    };
    let batch = Batch { conditions: vec![in_reign(before)?], writes };
    committed(store, batch, reign)
}

/// What the key of the cluster is wrapped for.
const KEY_PURPOSE: &str = "dfs cluster key";

fn wrapped(wrap: &dyn KeyWrap, key: &ClusterKey) -> Result<StoredKey, MetaError> {
    let wrapped = wrap.seal(KEY_PURPOSE, &key.0);
    wrapped.map(StoredKey::Wrapped).map_err(|status| MetaError::Refused(Box::new(status)))
}

fn unwrapped(wrap: &dyn KeyWrap, wrapped: &[u8]) -> Result<ClusterKey, MetaError> {
    let bytes = wrap.open(KEY_PURPOSE, wrapped).map_err(|status| MetaError::Refused(Box::new(status)))?;
    let key =
        bytes.try_into().map_err(|_| MetaError::damaged(keys::CLUSTER, "its key has another length"))?;
    Ok(ClusterKey(key))
}

/// Whether the key of the cluster in this store lies wrapped: then it can only be opened with what it was wrapped under.
///
/// # Errors
/// Those of the store.
pub fn is_wrapped(store: &dyn MetadataStore) -> Result<bool, MetaError> {
    let snapshot = store.snapshot()?;
    let meta = Committed(snapshot.as_ref()).load::<ClusterMeta>(keys::CLUSTER)?;
    Ok(meta.is_some_and(|meta| matches!(meta.key, StoredKey::Wrapped(_))))
}

/// The authority of the cluster, if it has one of its own, and the keys that are not believed any more: at a start, before anything is served.
///
/// # Errors
/// Those of the store.
pub fn trusted(store: &dyn MetadataStore) -> Result<(Option<AuthorityRecord>, RevokedKeys), MetaError> {
    let snapshot = store.snapshot()?;
    let view = Committed(snapshot.as_ref());
    Ok((view.load(keys::AUTHORITY)?, view.load(keys::REVOKED)?.unwrap_or_default()))
}

/// Gives the cluster an authority, for good.
///
/// # Errors
/// Those of the store; `StaleEpoch` if another reign has begun, or somebody else was quicker.
pub fn found(store: &dyn MetadataStore, reign: &Reign, authority: &AuthorityRecord) -> Result<(), MetaError> {
    let conditions = vec![reign.fence()?, Condition::Absent(keys::AUTHORITY.to_vec())];
    let writes = vec![(keys::AUTHORITY.to_vec(), Some(encode(keys::AUTHORITY, authority)?))];
    committed(store, Batch { conditions, writes }, ())
}

/// Gives up, by an operator's word, all reigns up to `epoch` that the metadata does not know, with whatever was written
/// in them. `epoch` must be the one that the proof names, so that a word that was left in a configuration decides
/// nothing later. Returns whether there was such a proof; to be followed by [`open`].
///
/// # Errors
/// Those of the store.
pub fn give_up(store: &dyn MetadataStore, epoch: Epoch) -> Result<bool, MetaError> {
    let snapshot = store.snapshot()?;
    let view = Committed(snapshot.as_ref());
    if unknown_reign(&view)?.is_none_or(|unknown| unknown.epoch != epoch) {
        return Ok(false);
    }
    let before: Epoch = view.require(keys::EPOCH)?;
    let mut reigns: Reigns = view.require(keys::REIGNS)?;
    reigns.horizon = reigns.horizon.max(epoch);
    let mut writes = epoch_writes(before, &reigns)?;
    writes.push((keys::UNKNOWN_REIGN.to_vec(), None));
    committed(store, Batch { conditions: vec![in_reign(before)?], writes }, true)
}

/// The commit position: raised by every group.
///
/// # Errors
/// Of the store.
pub fn position(view: &impl View) -> Result<u64, MetaError> {
    Ok(view.load(keys::POSITION)?.unwrap_or(0))
}

/// What the metadata knows of this reign. If it is less than a node has heard, that is to be remembered:
/// [`note_unknown`].
///
/// # Errors
/// Of the store.
pub fn knows_reign(view: &impl View, epoch: Epoch) -> Result<Known, MetaError> {
    let position = position(view)?;
    Ok(view.require::<Reigns>(keys::REIGNS)?.knows(epoch, position))
}

/// Remembers the proof that the metadata is an old copy. The highest epoch stays, whatever was given up meanwhile.
///
/// # Errors
/// Of the store.
pub fn note_unknown(txn: &mut Txn<'_>, seen: &UnknownReign) -> Result<(), MetaError> {
    let known = match knows_reign(txn, seen.epoch)? {
        Known::Whole => true,
        Known::UpTo(position) => seen.heard <= position,
        Known::Not => false,
    };
    if known || unknown_reign(txn)?.is_some_and(|old| old.epoch >= seen.epoch) {
        return Ok(());
    }
    txn.put(keys::UNKNOWN_REIGN.to_vec(), seen)
}

/// The proof that the metadata is an old copy, if there is one: then nothing may be collected.
///
/// # Errors
/// Of the store.
pub fn unknown_reign(view: &impl View) -> Result<Option<UnknownReign>, MetaError> {
    view.load(keys::UNKNOWN_REIGN)
}

fn next_epoch(before: Epoch, now_ms: u64, random: ClusterId) -> Epoch {
    let spread = u64::try_from(random.0 % u128::from(EPOCH_SPREAD)).unwrap_or(0);
    Epoch(before.0.max(now_ms).saturating_add(1 + spread))
}

/// That nobody has begun a reign since.
fn in_reign(epoch: Epoch) -> Result<Condition, MetaError> {
    Ok(Condition::Equals(keys::EPOCH.to_vec(), encode(keys::EPOCH, &epoch)?))
}

type Write = (Vec<u8>, Option<Vec<u8>>);

fn epoch_writes(epoch: Epoch, reigns: &Reigns) -> Result<Vec<Write>, MetaError> {
    Ok(vec![
        (keys::EPOCH.to_vec(), Some(encode(keys::EPOCH, &epoch)?)),
        (keys::REIGNS.to_vec(), Some(encode(keys::REIGNS, reigns)?)),
    ])
}

fn format(
    store: &dyn MetadataStore,
    cluster: ClusterId,
    (key, stored): (&ClusterKey, StoredKey),
    now_ms: u64,
) -> Result<Reign, MetaError> {
    let meta = ClusterMeta { format: FORMAT_VERSION, cluster, key: stored, created_ms: now_ms };
    let root = Inode {
        parent: InodeId::ROOT,
        name: String::new(),
        created_ms: now_ms,
        mtime_ns: ns(now_ms),
        trashed: false,
        file: None,
    };
    let root_key = keys::inode(InodeId::ROOT);
    let epoch = next_epoch(Epoch(0), now_ms, cluster);
    let mut reigns = Reigns::default();
    reigns.push(epoch, 0);
    let mut writes = epoch_writes(epoch, &reigns)?;
    writes.extend([
        (keys::CLUSTER.to_vec(), Some(encode(keys::CLUSTER, &meta)?)),
        (keys::NEXT_INODE.to_vec(), Some(encode(keys::NEXT_INODE, &(InodeId::ROOT.0 + 1))?)),
        (keys::TOTALS.to_vec(), Some(encode(keys::TOTALS, &Totals::default())?)),
        (root_key.clone(), Some(encode(&root_key, &root)?)),
    ]);
    let conditions = vec![Condition::Absent(keys::CLUSTER.to_vec())];
    let (created_ms, time_ms) = (now_ms, now_ms);
    let reign = Reign { cluster, key: key.clone(), epoch, created_ms, time_ms, position: 0, fresh: true };
    committed(store, Batch { conditions, writes }, reign)
}

fn committed<T>(store: &dyn MetadataStore, batch: Batch, done: T) -> Result<T, MetaError> {
    match store.commit(&[batch])?.first() {
        Some(BatchOutcome::Applied) => Ok(done),
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

/// Remembers a node. One that was forgotten, or is lost, comes back only if an operator admits it (as one that left): a
/// registration that was under way meanwhile does not undo it. Of one that is admitted nothing more is taken away.
///
/// # Errors
/// `NotAdmitted` of such a registration.
pub fn put_node(txn: &mut Txn<'_>, node: NodeId, record: &NodeRecord) -> Result<(), MetaError> {
    let known = self::node(txn, node)?;
    if known.as_ref() == Some(record) {
        return Ok(());
    }
    let fence = known.filter(|known| matches!(known.standing, Standing::Lost | Standing::Forgotten));
    if fence.is_some() && matches!(record.standing, Standing::Member | Standing::Draining) {
        let text = format!(
            "{} ({node}) was forgotten, or another node took its place, while it registered",
            record.name
        );
        return Err(MetaError::refused_with_hint(
            StatusCode::NotAdmitted,
            text,
            "`dfsctl nodes admit` takes it in again; else start it with an empty data directory",
        ));
    }
    // It left, or another node took its place, before it was forgotten or while it was: it is forgotten.
    let is_stale = |known: &NodeRecord| {
        let lost = known.standing == Standing::Forgotten && record.standing == Standing::Lost;
        lost || record.since_ms < known.since_ms
    };
    if fence.is_some_and(|known| is_stale(&known)) {
        return Ok(());
    }
    if record.standing != Standing::Forgotten {
        txn.delete(keys::forgetting(node));
    }
    txn.put(keys::node(node), record)
}

/// The record of a node.
///
/// # Errors
/// Of the store.
pub fn node(view: &impl View, node: NodeId) -> Result<Option<NodeRecord>, MetaError> {
    view.load(&keys::node(node))
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
