//! The actor that owns the control connection.

use std::sync::Arc;
use std::time::Duration;

use dfs_wire::handshake::Hello;
use dfs_wire::id::OpId;
use dfs_wire::identity::PeerName;
use dfs_wire::link::{Dialed, Link};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};

use super::messages::{Call, ControlMsg};
use super::state::{ControlState, Wait, expect_coordinator};
use crate::budgets::CONTROL_MAILBOX;
use crate::peer::dial::{DIAL_TIMEOUT, dial};
use crate::supervisor::{ActorError, Behaviour, Ctx};

/// How often the connection is looked at.
const TICK: Duration = Duration::from_secs(2);

/// What the actor is made from.
#[derive(Clone)]
pub struct ControlArgs {
    /// Where the coordinator listens, `host:port`.
    pub coordinator: String,
    /// How this node introduces itself.
    pub hello: Arc<dyn Fn() -> Hello + Send + Sync>,
    /// Memory for payloads; control messages bring none.
    pub budget: SlabBudget,
}

/// The owner of the control connection.
pub struct Control {
    args: ControlArgs,
    link: Option<Link>,
    state: ControlState<Call>,
}

impl Behaviour for Control {
    type Msg = ControlMsg;
    type Args = ControlArgs;
    const KIND: &'static str = "control";

    async fn start(args: ControlArgs, ctx: &mut Ctx<ControlMsg>) -> Result<Self, ActorError> {
        ctx.set_tick(TICK);
        Ok(Self { args, link: None, state: ControlState::new(CONTROL_MAILBOX) })
    }

    async fn handle(&mut self, msg: ControlMsg, ctx: &mut Ctx<ControlMsg>) -> Result<(), ActorError> {
        match msg {
            ControlMsg::Call(call) => self.call(*call, ctx),
            ControlMsg::Dialed(outcome) => self.dialed(*outcome, ctx),
            ControlMsg::Ended { connection, answered } => self.ended(connection, answered),
        }
        Ok(())
    }

    async fn tick(&mut self, _ctx: &mut Ctx<ControlMsg>) -> Result<(), ActorError> {
        if let Some(link) = &self.link {
            link.tick();
        }
        Ok(())
    }
}

impl Control {
    fn ended(&mut self, connection: u64, answered: bool) {
        if self.state.ended(connection, answered)
            && let Some(link) = self.link.take()
        {
            let coordinator = &self.args.coordinator;
            tracing::warn!(%coordinator, "nothing is answered on this connection: the next call makes another one");
            link.close(Status::new(StatusCode::Unavailable, "nothing is answered on this connection"));
        }
    }

    fn call(&mut self, call: Call, ctx: &mut Ctx<ControlMsg>) {
        if let Some(link) = self.link.as_ref().filter(|link| !link.is_draining()) {
            return send(link.clone(), self.state.connection(), call, ctx);
        }
        match self.state.wait(call) {
            Wait::Dial => self.dial(ctx),
            Wait::Dialing => {}
            Wait::Refused(call, why) => call.reply.send(Err(why)),
        }
    }

    fn dial(&mut self, ctx: &mut Ctx<ControlMsg>) {
        let (env, args) = (ctx.env().clone(), self.args.clone());
        let attempt = async move {
            let whom = PeerName::Coordinator;
            dial(&env, &args.coordinator, whom, &(args.hello)(), &args.budget, DIAL_TIMEOUT).await
        };
        ctx.spawn_then(attempt, |outcome| ControlMsg::Dialed(Box::new(outcome)));
    }

    fn dialed(&mut self, outcome: Result<Dialed, Status>, ctx: &mut Ctx<ControlMsg>) {
        let coordinator = &self.args.coordinator;
        let calls = self.state.dial_ended();
        let outcome = outcome.and_then(|dialed| {
            expect_coordinator(&dialed.welcome.role, coordinator)?;
            Ok(dialed)
        });
        match outcome {
            Ok(dialed) => {
                ctx.spawn(dialed.driver.reader);
                ctx.spawn(dialed.driver.writer);
                tracing::info!(%coordinator, "connected to the coordinator");
                let connection = self.state.connected();
                calls.into_iter().for_each(|call| send(dialed.link.clone(), connection, call, ctx));
                self.link = Some(dialed.link);
            }
            Err(why) => calls.into_iter().for_each(|call| call.reply.send(Err(why.clone()))),
        }
    }
}

/// Sends one call on its way, in a task that ends with the actor.
fn send(link: Link, connection: u64, call: Call, ctx: &mut Ctx<ControlMsg>) {
    let (op, clock) = (OpId(ctx.env().rng.u128()), Arc::clone(&ctx.env().clock));
    let asking = async move {
        let millis = u32::try_from(call.timeout.as_millis()).unwrap_or(u32::MAX);
        let asked = clock.timeout(call.timeout, link.request(op, millis, call.request)).await;
        let late = || Status::new(StatusCode::DeadlineExceeded, "the coordinator did not answer in time");
        let answered = asked.is_ok();
        call.reply.send(asked.unwrap_or_else(|_| Err(late())).map(|(response, _)| response));
        answered
    };
    ctx.spawn_then(asking, move |answered| ControlMsg::Ended { connection, answered });
}
