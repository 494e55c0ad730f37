//! Jobs begin, go on, are ended, and are remembered.

use dfs_wire::message::job::{NamedNode, ReplacedNode};

use super::*;

fn asked(node: u128) -> AskedJob {
    AskedJob { task: drain(node), by: "somebody".to_owned(), total: WorkAmount::default() }
}

fn drain(node: u128) -> JobTask {
    JobTask::Drain(NamedNode { node: NodeId(node), name: format!("dn-{node}") })
}

fn begun(state: &mut JobsState, node: u128) -> JobId {
    let (id, changes) = state.begin(asked(node), 10).unwrap();
    assert!(
        state.leaving().is_empty() || !state.leaving().contains_key(&NodeId(node)),
        "not before it is durable"
    );
    state.stored(changes, true);
    id
}

fn act(state: &mut JobsState, id: JobId, action: JobAction) {
    let changes = state.act(id, action, 20).unwrap();
    state.stored(changes, true);
}

fn amount(chunks: u64) -> WorkAmount {
    WorkAmount { chunks, bytes: chunks * 1000 }
}

#[test]
fn a_node_is_emptied_by_one_job_at_a_time_and_who_takes_its_place_is_remembered() {
    let named = |node: u128| NamedNode { node: NodeId(node), name: format!("dn-{node}") };
    let replace = |old, new| JobTask::Replace(ReplacedNode { old: named(old), new: named(new) });
    let mut state = JobsState::default();
    let job = AskedJob { task: replace(1, 5), by: String::new(), total: amount(2) };
    let (id, changes) = state.begin(job, 10).unwrap();
    state.stored(changes, true);
    assert_eq!(state.status(id, 10).unwrap().total, amount(2));
    assert_eq!((state.like(&drain(1)), state.like(&replace(1, 6))), (Some(id), Some(id)));
    assert_eq!((state.like(&drain(5)), state.like(&replace(2, 5))), (None, None));
    assert_eq!(state.leaving(), [(NodeId(1), Some(NodeId(5)))].into());
    state.end(id, JobState::Done, 20);
    assert_eq!((state.leaving().len(), state.draining().len()), (1, 1), "as long as it is there");
    act(&mut state, id, JobAction::Cancel);
    assert!(state.draining().is_empty());
    let again = begun(&mut state, 1);
    assert_eq!(state.leaving(), [(NodeId(1), None)].into(), "the latest job counts");
    state.gone(NodeId(1), 30);
    assert_eq!(state.status(again, 30).unwrap().state, JobState::Failed);
}

#[test]
fn what_is_not_durable_has_not_begun() {
    let mut state = JobsState::default();
    let (id, changes) = state.begin(asked(1), 0).unwrap();
    assert_eq!(state.begin(asked(1), 0).unwrap_err().code, StatusCode::Busy);
    state.stored(changes, false);
    assert_eq!((state.status(id, 0), state.like(&drain(1))), (None, None));
    let again = begun(&mut state, 1);
    assert_eq!((again, state.like(&drain(1)), state.like(&drain(2))), (JobId(2), Some(JobId(2)), None));
    let rows = state.unsaved();
    assert!(rows.contains(&(JobId(1), None)), "should its row be there all the same");
    // While something is done to a job, nothing older is stored over it.
    let changes = state.act(again, JobAction::Cancel, 20).unwrap();
    state.measured(again, amount(3), 30);
    assert_eq!(state.act(again, JobAction::Resume, 20).unwrap_err().code, StatusCode::Busy);
    assert!(state.unsaved().is_empty());
    state.stored(changes, true);
    let stored = state.unsaved();
    assert_eq!(stored[0].1.as_ref().map(|record| record.state), Some(JobState::Cancelled));
    assert_eq!(state.act(again, JobAction::Cancel, 40), Ok(vec![]), "asked again");
}

#[test]
fn a_node_is_emptied_while_its_job_runs_and_takes_no_chunks_until_it_is_cancelled() {
    let mut state = JobsState::default();
    let id = begun(&mut state, 1);
    let both = |state: &JobsState| (state.leaving().len(), state.draining().len());
    assert_eq!(both(&state), (1, 1));
    act(&mut state, id, JobAction::Pause);
    assert_eq!(both(&state), (0, 1));
    act(&mut state, id, JobAction::Resume);
    assert_eq!(both(&state), (1, 1));
    state.end(id, JobState::Done, 30);
    assert_eq!(both(&state), (1, 1), "what was on its way there goes as well");
    assert_eq!(state.like(&drain(1)), None, "asked again, it is looked at again");
    assert_eq!(state.act(id, JobAction::Pause, 30).unwrap_err().code, StatusCode::PreconditionFailed);
    act(&mut state, id, JobAction::Cancel);
    assert_eq!(both(&state), (0, 0));
    assert_eq!(state.like(&drain(1)), None);
    let later = begun(&mut state, 1);
    assert_eq!((later, both(&state)), (JobId(2), (1, 1)));
    assert_eq!(state.act(JobId(9), JobAction::Pause, 30).unwrap_err().code, StatusCode::NotFound);
}

#[test]
fn a_node_that_was_forgotten_is_not_emptied_again_when_it_comes_back() {
    let mut state = JobsState::default();
    let (done, paused) = (begun(&mut state, 1), begun(&mut state, 2));
    state.end(done, JobState::Done, 20);
    act(&mut state, paused, JobAction::Pause);
    assert_eq!(state.draining().len(), 2);
    state.gone(NodeId(1), 30);
    state.gone(NodeId(2), 30);
    let states: Vec<_> = state.list(30).into_iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Failed, JobState::Cancelled]);
    assert!(state.draining().is_empty() && state.unsaved().len() == 2);
    state.gone(NodeId(1), 40);
    assert!(state.unsaved().is_empty(), "once");
}

#[test]
fn progress_never_goes_back_and_says_how_long_it_takes() {
    let mut state = JobsState::default();
    let id = begun(&mut state, 1);
    state.measured(id, amount(100), 1_000);
    state.measured(id, amount(60), 11_000);
    let status = state.status(id, 11_000).unwrap();
    assert_eq!((status.total, status.done), (amount(100), amount(40)));
    assert_eq!((status.bytes_per_second, status.left_ms), (4_000, Some(15_000)));
    state.measured(id, amount(80), 12_000);
    let status = state.status(id, 12_000).unwrap();
    assert_eq!((status.total, status.done), (amount(120), amount(40)), "more came");
    assert_eq!(state.unsaved().len(), 1);
    assert!(state.unsaved().is_empty(), "each change is stored once");
    state.end(id, JobState::Done, 13_000);
    let status = state.status(id, 13_000).unwrap();
    assert_eq!((status.done, status.left_ms, status.state), (amount(120), None, JobState::Done));
}

#[test]
fn jobs_go_on_after_a_restart_where_they_were() {
    let mut state = JobsState::default();
    let id = begun(&mut state, 1);
    state.measured(id, amount(100), 1_000);
    state.measured(id, amount(60), 2_000);
    state.exception(id, "no node has room");
    state.at(id, vec![7]);
    state.exception(id, "no node has room");
    let rows = state.unsaved().into_iter().map(|(id, record)| (id, record.unwrap())).collect();
    let again = JobsState::new(Remembered { jobs: rows, ..Remembered::default() });
    assert_eq!((again.leaving(), again.cursor(id)), ([(NodeId(1), None)].into(), vec![7]));
    let status = again.status(id, 3_000).unwrap();
    assert_eq!((status.done, status.exceptions, status.left_ms), (amount(40), 1, None));
}

#[test]
fn so_many_jobs_are_remembered_and_those_that_ended_first_are_forgotten() {
    let mut state = JobsState::default();
    for node in 0..JOBS_MAX as u128 {
        begun(&mut state, node);
    }
    assert_eq!(state.begin(asked(999), 0).unwrap_err().code, StatusCode::Busy);
    state.end(JobId(2), JobState::Done, 0);
    assert!(state.begin(asked(999), 0).is_err(), "its node is still there");
    act(&mut state, JobId(5), JobAction::Cancel);
    act(&mut state, JobId(3), JobAction::Cancel);
    let (id, changes) = state.begin(asked(999), 0).unwrap();
    assert_eq!((id, changes[0].0, changes.len()), (JobId(JOBS_MAX as u64 + 1), JobId(3), 2));
    state.stored(changes, true);
    assert_eq!(state.list(0).len(), JOBS_MAX);
    assert_eq!(state.list(0)[0].id, id, "the latest first");
}
