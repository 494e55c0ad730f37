//! Records of nodes, those of an earlier format included.

use super::*;
use crate::metadata::format::{decode, encode};
use crate::metadata::keys;
use crate::metadata::records::{NodeRecord, Standing};

#[test]
fn records_of_nodes_of_format_1_are_read() {
    let key = keys::node(NodeId(7));
    // Format, then name, zone, address, first registration, left.
    let old = |left: u8| [&[1, 4][..], b"dn-7", &[1], b"a", &[3], b"h:1", &[200], &[left]].concat();
    let record = NodeRecord {
        name: "dn-7".into(),
        zone: "a".into(),
        address: "h:1".into(),
        registered_ms: 200,
        standing: Standing::Member,
        since_ms: 200,
    };
    assert_eq!(decode::<NodeRecord>(&key, &old(0)).unwrap(), record);
    let left = NodeRecord { standing: Standing::Left, ..record.clone() };
    assert_eq!(decode::<NodeRecord>(&key, &old(1)).unwrap(), left);
    let value = encode(&key, &record).unwrap();
    assert_eq!((value[0], decode(&key, &value).unwrap()), (2, record));
    assert!(decode::<NodeRecord>(&key, &[9, 0]).is_err());
}
