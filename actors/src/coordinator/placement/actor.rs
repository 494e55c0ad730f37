//! The placement actor: owns what has been promised to nodes since they last reported.
//!
//! It is an actor because the promises are state that everybody who allocates must see in one order, or a burst of
//! uploads would herd to the node that looked best in the last heartbeat. A restart forgets the promises, which the
//! nodes' next reports make up for.

use std::borrow::Borrow;
use std::sync::Arc;

use dfs_wire::status::{Status, StatusCode};

use super::messages::{PlaceChunks, PlacementMsg};
use super::state::{Demand, Placed, Pressure, place};
use crate::coordinator::membership::{NodeView, ViewReceiver};
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// What the actor is built from.
#[derive(Clone)]
pub struct PlacementArgs {
    /// The picture of the cluster.
    pub view: ViewReceiver,
}

/// The placement actor.
pub struct Placement {
    view: ViewReceiver,
    pressure: Pressure,
}

/// Places all chunks or none, and takes the promises down if all went well.
fn place_all<N: Borrow<NodeView>>(
    candidates: &[N],
    pressure: &mut Pressure,
    request: &PlaceChunks,
    below: &mut dyn FnMut(u64) -> u64,
) -> Result<Vec<Placed>, Status> {
    pressure.observe(candidates);
    let mut promised = pressure.clone();
    let mut all = Vec::with_capacity(request.bytes.len());
    for bytes in &request.bytes {
        let demand = Demand {
            copies: request.copies,
            min_ack: request.min_ack,
            bytes: *bytes,
            exclude: &request.exclude,
        };
        let placed = match place(candidates, &promised, &demand, below) {
            // An old promise may be counted twice, here and in the report: nobody is refused for that.
            Err(status) if status.code == StatusCode::NoSpace => {
                place(candidates, &promised.fresh_only(), &demand, below)?
            }
            other => other?,
        };
        for node in &placed.nodes {
            let report =
                candidates.iter().map(N::borrow).find(|c| c.entry.node == *node).map_or(0, |c| c.report);
            promised.promise(*node, report, *bytes);
        }
        all.push(placed);
    }
    *pressure = promised;
    Ok(all)
}

impl Behaviour for Placement {
    type Msg = PlacementMsg;
    type Args = PlacementArgs;
    const KIND: &'static str = "placement";

    async fn start(args: PlacementArgs, _ctx: &mut Ctx<PlacementMsg>) -> Result<Self, ActorError> {
        Ok(Self { view: args.view, pressure: Pressure::default() })
    }

    async fn handle(&mut self, msg: PlacementMsg, ctx: &mut Ctx<PlacementMsg>) -> Result<(), ActorError> {
        match msg {
            PlacementMsg::Place(request, reply) => {
                // The published picture itself: what is borrowed is one pointer.
                let view = Arc::clone(&self.view.borrow());
                let rng = ctx.env().rng.clone();
                let placed =
                    place_all(&view.nodes, &mut self.pressure, &request, &mut |bound| rng.below(bound));
                ctx.set_credits(self.pressure.total_bytes());
                reply.send(placed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dfs_wire::message::membership::NodeLoad;

    use super::*;

    #[test]
    fn a_request_that_fails_promises_nothing() {
        let load = NodeLoad { available: 10, ..NodeLoad::default() };
        let mut candidate = NodeView { load, ..NodeView::for_tests(1) };
        let mut pressure = Pressure::default();
        let mut ask = |candidate: &NodeView, bytes: Vec<u64>| {
            let request = PlaceChunks { bytes, copies: 1, min_ack: 1, exclude: vec![] };
            place_all(std::slice::from_ref(candidate), &mut pressure, &request, &mut |_| 0)
        };
        assert!(ask(&candidate, vec![6, 6]).is_err(), "the second does not fit");
        assert_eq!(ask(&candidate, vec![6, 2]).unwrap().len(), 2);
        assert!(ask(&candidate, vec![3]).is_err(), "most of it is promised");
        // The next report knows of both: what it says is left may be given away.
        (candidate.report, candidate.load.available) = (2, 2);
        assert!(ask(&candidate, vec![3]).is_err());
        assert_eq!(ask(&candidate, vec![2]).unwrap().len(), 1);
        assert!(ask(&candidate, vec![1]).is_err());
    }
}
