//! Words of nodes: their bounds, and what is answered to those that are not taken in.

use dfs_wire::message::admin::HealthFinding;
use dfs_wire::message::membership::{DiskHealth, NodeLoad, Register};
use dfs_wire::status::{Status, StatusCode};

use super::{ADDRESS_BYTES_MAX, Member, NODE_NAME_BYTES_MAX, ZONE_BYTES_MAX};
use crate::coordinator::metadata::model::records::{NodeRecord, Standing};

/// Characters that are kept of why a disk takes no writes.
const DISK_REASON_CHARS_MAX: usize = 120;
/// Bytes that are kept of the texts of a finding that a node tells: its code, the sentence, and what to do.
pub(super) const FINDING_BYTES_MAX: (usize, usize, usize) = (48, 300, 220);

/// More registrations are under way than are looked at.
pub fn too_many_register() -> Status {
    Status::new(StatusCode::Busy, "too many datanodes are registering at once")
}

/// What to do about a node that is not the one at the address it advertises.
pub fn advertise_hint(name: &str) -> String {
    format!("set node.advertise of {name} to where it can be reached itself")
}

/// The report with its one free text cut: every node's is shown in one answer.
pub(super) fn bounded(load: &NodeLoad) -> NodeLoad {
    let cut = |why: &str| why.chars().take(DISK_REASON_CHARS_MAX).collect::<String>();
    let disk = match &load.disk {
        DiskHealth::ReadOnly(why) => DiskHealth::ReadOnly(cut(why)),
        DiskHealth::Failed(why) => DiskHealth::Failed(cut(why)),
        other => other.clone(),
    };
    NodeLoad { disk, ..load.clone() }
}

/// What a node says of its health, cut: all of it is shown in one answer.
pub(super) fn shortened(told: &HealthFinding) -> HealthFinding {
    let cut = |text: &str, most: usize| {
        let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= most;
        text.char_indices().take_while(fits).map(|(_, c)| c).filter(|c| !c.is_control()).collect::<String>()
    };
    let (code, message, hint) = FINDING_BYTES_MAX;
    HealthFinding::new(
        &cut(&told.code, code),
        told.level,
        cut(&told.message, message),
        &cut(&told.hint, hint),
    )
}

pub(super) fn check_texts(word: &Register) -> Result<(), Status> {
    let texts = [
        ("name", &word.name, NODE_NAME_BYTES_MAX, false),
        ("zone", &word.zone, ZONE_BYTES_MAX, true),
        ("address", &word.address, ADDRESS_BYTES_MAX, false),
        ("version", &word.version, NODE_NAME_BYTES_MAX, true),
    ];
    for (what, text, most, may_be_empty) in texts {
        let wrong = if text.len() > most {
            format!("a node's {what} has at most {most} bytes, this one has {}", text.len())
        } else if text.is_empty() && !may_be_empty {
            format!("a node needs a {what}")
        } else if text.chars().any(char::is_control) {
            format!("a node's {what} has no control characters")
        } else {
            continue;
        };
        return Err(Status::new(StatusCode::InvalidArgument, wrong).at_node(word.node));
    }
    Ok(())
}

pub(super) fn superseded(node: &Member) -> Status {
    let (NodeRecord { name, address, .. }, incarnation) = (&node.record, node.incarnation);
    let text = format!(
        "a newer process (run {incarnation}) at {address} has the node id of {name}: this one must stop"
    );
    Status::new(StatusCode::AlreadyExists, text)
        .hint("two processes run on copies of one data directory: stop one, or restart this one if it is the right one")
        .at_node(node.id)
}

/// Why a node that is lost or forgotten is not taken in.
pub(super) fn fenced(node: &Member) -> Status {
    let (id, name) = (node.id, &node.record.name);
    let text = match node.record.standing {
        Standing::Lost => format!(
            "the node id {id} of {name} is lost: another node took its name and address, and its copies do not count"
        ),
        _ => format!("the node id {id} of {name} was forgotten by an operator"),
    };
    Status::new(StatusCode::NotAdmitted, text)
        .hint(format!(
            "to use this machine, start it with an empty data directory; if what it holds is needed, `dfsctl nodes admit {id}`"
        ))
        .at_node(id)
}
