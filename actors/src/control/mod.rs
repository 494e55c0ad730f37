//! A datanode's control connection to its coordinator.
//!
//! Heartbeats and inventories go over one connection of their own, so that they never wait behind chunks. The actor
//! owns it: it dials when something is to be said, keeps it alive, and gives up on calls that wait too long. It does
//! not retry: what to say again, and when, is the business of who says it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dfs_wire::handshake::Hello;
use dfs_wire::id::OpId;
use dfs_wire::link::Link;
use dfs_wire::message::{Request, Response};
use dfs_wire::slab::SlabBudget;
use dfs_wire::status::{Status, StatusCode};
use futures_util::future::BoxFuture;

use crate::heartbeat::actor::CoordinatorLink;
use crate::supervisor::{ActorError, Addr, AskError, Behaviour, Ctx, Reply};
use crate::transport::{Dialed, dial};

/// Bound of the mailbox, and of the calls that wait for a connection.
pub const CONTROL_MAILBOX: usize = 64;
/// Patience with a dial.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the connection is looked at.
const TICK: Duration = Duration::from_secs(2);

/// One call.
#[derive(Debug)]
pub struct Call {
    request: Request,
    timeout: Duration,
    reply: Reply<Result<Response, Status>>,
}

/// What the actor can be told.
#[derive(Debug)]
pub enum ControlMsg {
    /// Ask the coordinator something.
    Call(Box<Call>),
    /// A dial ended.
    Dialed(Box<Result<Dialed, Status>>),
}

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
    dialing: bool,
    waiting: VecDeque<Call>,
}

impl Behaviour for Control {
    type Msg = ControlMsg;
    type Args = ControlArgs;
    const KIND: &'static str = "control";

    async fn start(args: ControlArgs, ctx: &mut Ctx<ControlMsg>) -> Result<Self, ActorError> {
        ctx.set_tick(TICK);
        Ok(Self { args, link: None, dialing: false, waiting: VecDeque::new() })
    }

    async fn handle(&mut self, msg: ControlMsg, ctx: &mut Ctx<ControlMsg>) -> Result<(), ActorError> {
        match msg {
            ControlMsg::Call(call) => self.call(*call, ctx),
            ControlMsg::Dialed(outcome) => self.dialed(*outcome, ctx),
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
    fn call(&mut self, call: Call, ctx: &mut Ctx<ControlMsg>) {
        match self.link.as_ref().filter(|link| !link.is_draining()) {
            Some(link) => send(link.clone(), call, ctx),
            None if self.waiting.len() >= CONTROL_MAILBOX => {
                let text = "too many calls wait for a connection to the coordinator";
                call.reply.send(Err(Status::new(StatusCode::Busy, text)));
            }
            None => {
                self.waiting.push_back(call);
                self.dial(ctx);
            }
        }
    }

    fn dial(&mut self, ctx: &mut Ctx<ControlMsg>) {
        if std::mem::replace(&mut self.dialing, true) {
            return;
        }
        let (env, args) = (ctx.env().clone(), self.args.clone());
        let attempt =
            async move { dial(&env, &args.coordinator, &(args.hello)(), &args.budget, DIAL_TIMEOUT).await };
        ctx.spawn_then(attempt, |outcome| ControlMsg::Dialed(Box::new(outcome)));
    }

    fn dialed(&mut self, outcome: Result<Dialed, Status>, ctx: &mut Ctx<ControlMsg>) {
        self.dialing = false;
        match outcome {
            Ok(dialed) if dialed.welcome.role == "coordinator" => {
                ctx.spawn(dialed.driver.reader);
                ctx.spawn(dialed.driver.writer);
                tracing::info!(coordinator = %self.args.coordinator, "connected to the coordinator");
                self.waiting.drain(..).for_each(|call| send(dialed.link.clone(), call, ctx));
                self.link = Some(dialed.link);
            }
            Ok(dialed) => {
                let role = &dialed.welcome.role;
                let text = format!(
                    "a {role} answers at {} where the coordinator was expected",
                    self.args.coordinator
                );
                self.refuse(
                    &Status::new(StatusCode::Unavailable, text)
                        .hint("check coordinator.host and coordinator.port"),
                );
            }
            Err(status) => self.refuse(&status),
        }
    }

    fn refuse(&mut self, status: &Status) {
        self.waiting.drain(..).for_each(|call| call.reply.send(Err(status.clone())));
    }
}

/// Sends one call on its way, in a task that ends with the actor.
fn send(link: Link, call: Call, ctx: &mut Ctx<ControlMsg>) {
    let op = OpId(ctx.env().rng.u128());
    ctx.spawn(async move {
        let millis = u32::try_from(call.timeout.as_millis()).unwrap_or(u32::MAX);
        let asked = tokio::time::timeout(call.timeout, link.request(op, millis, call.request)).await;
        let late = || Status::new(StatusCode::DeadlineExceeded, "the coordinator did not answer in time");
        call.reply.send(asked.unwrap_or_else(|_| Err(late())).map(|(response, _)| response));
    });
}

/// The connection as the heartbeat and the inventory see it.
#[derive(Clone)]
pub struct ControlLink(pub Addr<ControlMsg>);

impl CoordinatorLink for ControlLink {
    fn call(&self, request: Request, timeout: Duration) -> BoxFuture<'static, Result<Response, Status>> {
        let control = self.0.clone();
        Box::pin(async move {
            let message = |reply| ControlMsg::Call(Box::new(Call { request, timeout, reply }));
            control.ask(message, timeout).await.unwrap_or_else(|e: AskError| {
                Err(Status::new(StatusCode::Unavailable, format!("no word from the coordinator: {e}")))
            })
        })
    }
}
