//! The bounds of what others can make a node hold, on one page: how much of a thing there may be, who takes it, and when it is
//! free again.
//!
//! | bound | of what | taken | free again |
//! |---|---|---|---|
//! | `memory.ingest_percent` of `memory.limit`, in slabs | bytes of uploads on their way to the disk, and payloads that ride in requests to a datanode | an upload reserves its window before it is accepted | disk and every live replica are done with the slab |
//! | `memory.replica_percent` of it, in slabs | the same of copies from primaries, and of those that the coordinator orders, four slabs each, apart: primaries that wait for each other cannot hold what both need | as above | as above |
//! | the rest of it / [`READ_BYTES`], from [`READS_MIN`] to [`READS_MAX`] | reads at once | a reader's first credit | the socket has taken its last byte |
//! | [`UPLOADS_MAX`] | uploads from clients | a turn, fair between sessions; then a place in the nursery | the session of the upload has ended |
//! | [`BULK_UPLOADS_MAX`] | those of large chunks among them | a turn of these as well | the session of the upload has ended |
//! | [`COPIES_MAX`] | copies from primaries | a place in the nursery | the session of the copy has ended |
//! | `cluster.repair_max` | chunks of 8 MiB that are repaired at once, or up to eight times as many small ones | the chunk is next among the endangered | its copy is made, verified or ordered away, or that failed |
//! | `cluster.repair_bytes_per_second` | bytes that repair copies in a second, one second ahead at most | a copy is ordered | time passes |
//! | `COPIES_AT_ONCE`, 16 | copies that the coordinator orders of a datanode; one while clients are served there | the order, before anything is fetched | the copy is made or has failed, and the rest after it is over |
//! | [`REPAIRS_WAITING_MAX`] | chunks that wait for repair, and as many that failed and are tried later | a look at the endangered | the repair begins; more are found by the next look |
//! | `JOBS_MAX`, 64 | jobs, those that ended among them | an operator asks for one | of more, those that ended first are forgotten; while none has, another one is refused |
//! | `MOVES_MAX`, 2,048 | chunks that a balance moves at once | it has chosen them | they have moved, or none has for five minutes |
//! | [`INLINE_SLABS`] | payloads that ride in requests to a coordinator | the frame arrives | the request is answered |
//! | `network.connections_max`, `members_max`, `operators_max` | connections, by class, and 256 of newcomers who have not introduced themselves | the connection is accepted | it is closed; idle clients go first |
//! | `*_MAILBOX` | messages queued or being handled | `send`, `ask` | the handler has ended; a full mailbox refuses |
//! | [`WRITER_QUEUE_MAX`] | changes of the metadata that wait for a group | the writer has read the message | a group begins with it; a full queue refuses |
//! | [`READS_WAITING_MAX`] | reads of the metadata of one kind that wait for a thread | the request is read | a thread takes it; a full queue refuses |
//! | [`INVENTORIES_JUDGED_MAX`] | pages of inventories that are judged at once; the others wait their turn, in the order of their arrival | the turn | the page is answered |
//! | [`ADDRESSES_ASKED_MAX`] | addresses that are asked who is there, when a node registers from elsewhere | the registration | they have answered, or not in time |
//! | [`NODES_WAITING_MAX`] | nodes that wait for an operator's yes | a registration that is not admitted | the node is admitted, or has not asked for a minute; of more, the oldest are not shown any more |
//! | [`DIAL_WAITING_MAX`] | requests that wait for one connection to another datanode | the request | the dial has ended; more are refused |
//! | [`FINDINGS_WAITING_MAX`] | bad copies, and as many missing ones, that wait to be told to the coordinator | the finding | a heartbeat has told it; more are found again by the next inventory |
//!
//! Mailboxes are rows of `dfsctl actors`; memory, places and connections of a datanode are gauges of its metrics. The mailbox of
//! a supervisor takes only requests to admit children to its nursery.

/// Chunks that wait for repair at most: what a look finds beyond is found by the next one.
pub const REPAIRS_WAITING_MAX: usize = 8192;
/// Slabs that an upload would like: 2 MiB keep a disk busy while the next frames are on their way.
pub const WINDOW_SLABS: usize = 8;
/// Uploads from clients served at once; more wait for their turn, before they hold anything at the replicas.
pub const UPLOADS_MAX: usize = 64;
/// Of them, those of large chunks. Measured: 64 at once on three nodes that share a disk leave one chunk in ten with a
/// straggler; a third of that keeps the disk as busy.
pub const BULK_UPLOADS_MAX: usize = 16;
/// Copies from primaries served at once.
pub const COPIES_MAX: usize = 512;
/// Slabs for payloads that ride in requests to a coordinator. Its requests bring none, so few are enough to say no.
pub const INLINE_SLABS: usize = 16;

/// What one read holds at most: a few mapped or copied pieces on their way to the socket.
pub const READ_BYTES: usize = 4 * 1024 * 1024;
/// Reads at once on a datanode with little memory.
pub const READS_MIN: usize = 4;
/// Reads at once on a datanode with much.
pub const READS_MAX: usize = 1024;

/// Pages of inventories that a coordinator judges at once: when many nodes return together, clients are served meanwhile.
pub const INVENTORIES_JUDGED_MAX: usize = 4;
/// Addresses that a coordinator asks at once who is there; more registrations wait, and come again.
pub const ADDRESSES_ASKED_MAX: usize = 32;
/// Nodes that wait for an operator's yes.
pub const NODES_WAITING_MAX: usize = 64;
/// Requests that wait for one dial to another datanode.
pub const DIAL_WAITING_MAX: usize = 1024;
/// Bad copies, and as many missing ones, that a datanode has not told yet.
pub const FINDINGS_WAITING_MAX: usize = 4096;
/// Requests to admit children to the nursery of a supervisor.
pub const SUPERVISOR_MAILBOX: usize = 64;

/// Mutations that wait for the writer's next group; more are told to come back.
pub const WRITER_QUEUE_MAX: usize = 1024;
/// The writer: messages on their way to its queue.
pub const WRITER_MAILBOX: usize = 2 * WRITER_QUEUE_MAX;
/// Threads that read the metadata for requests. Most reads take microseconds from the engine's cache; the others wait for the disk,
/// which is faster with some of them at once.
pub const METADATA_READERS: usize = 4;
/// Threads for reads of handshakes, registrations and heartbeats: no crowd of clients keeps them waiting.
pub const MEMBERSHIP_READERS: usize = 2;
/// Threads for reads of whoever looks how the cluster does: the longest there are, and nobody's work waits for them.
pub const HEALTH_READERS: usize = 1;
/// Reads of the metadata of each of the three kinds that may wait for a thread; more are told to come back.
pub const READS_WAITING_MAX: usize = 1024;
/// Registrations and heartbeats that may wait.
pub const MEMBERSHIP_MAILBOX: usize = 1024;
/// Allocations that may wait for the placement actor.
pub const PLACEMENT_MAILBOX: usize = 1024;
/// The collector of a coordinator: the ends of its steps, and questions.
pub const GC_MAILBOX: usize = 16;
/// The census: its own ticks.
pub const CENSUS_MAILBOX: usize = 4;
/// The repairer: nobody else speaks to it.
pub const REPAIR_MAILBOX: usize = 4;
/// The jobs: what operators ask, and the ends of its own steps.
pub const JOBS_MAILBOX: usize = 64;
/// The keeper of events: what happens, what operators ask, and the ends of its own steps.
pub const EVENTS_MAILBOX: usize = 64;

/// Calls to the coordinator that may wait, for the actor and for its connection.
pub const CONTROL_MAILBOX: usize = 64;
/// The heartbeat: reports of bad copies, and its own answers.
pub const HEARTBEAT_MAILBOX: usize = 256;
/// The inventory: its own answers, and wishes for a fresh one.
pub const INVENTORY_MAILBOX: usize = 16;
/// The quarantine: its own answers.
pub const QUARANTINE_MAILBOX: usize = 4;
/// The scrub: its own answers, and operators who begin a round.
pub const SCRUB_MAILBOX: usize = 16;
/// Whoever asks for a link to a datanode.
pub const LINKS_MAILBOX: usize = 1024;
/// An upload: a few events of its own tasks.
pub const STREAMING_MAILBOX: usize = 16;

/// A listener is told nothing.
pub const LISTENER_MAILBOX: usize = 1;
/// A session is told little.
pub const SESSION_MAILBOX: usize = 8;
