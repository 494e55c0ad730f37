//! The placement actor: owns what has been promised to nodes since they last reported.
//!
//! It is an actor because the promises are state that everybody who allocates must see in one order, or a burst of
//! uploads would herd to the node that looked best in the last heartbeat. A restart forgets the promises, which the
//! nodes' next reports make up for.

use std::sync::Arc;

use super::messages::PlacementMsg;
use super::state::{Pressure, place_all};
use crate::coordinator::membership::ViewReceiver;
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
