//! Every bound of the protocol, in one place, with the relations between them checked at compile time.
//!
//! After TigerBeetle's `constants.zig`: a limit that depends on another says so in a `const` assertion,
//! so that nobody can change one and forget its neighbour.

/// Bytes of the fixed frame header.
pub const HEADER_BYTES: usize = 24;
/// Bytes of the connection preface: `DFS1`, lowest and highest protocol version (u16 each, little-endian).
pub const PREFACE_BYTES: usize = 8;
/// Payload of every data frame but the last of its stream. Measured: 64 KiB frames cost twice the CPU.
pub const DATA_FRAME_BYTES: usize = 256 * 1024;
/// What a secured connection keeps of bytes that the socket has not taken yet, in each direction. No more: they count as sent, no
/// budget of memory knows of them, and on a slow line they are what nobody sees moving.
pub const TLS_BUFFER_BYTES: usize = 64 * 1024;
/// Granularity of checksums on disk; a frame's CRC is combined from its blocks'.
pub const BLOCK_BYTES: usize = 64 * 1024;
/// Bytes of the tag that ends each block of a chunk that is enciphered.
pub const TAG_BYTES: usize = 16;
/// Bytes of such a block before its tag.
pub const SEALED_PAYLOAD_BYTES: usize = BLOCK_BYTES - TAG_BYTES;
/// Alignment of slabs, of the data in a chunk file and of its footer (what O_DIRECT asks for at most).
pub const SLAB_ALIGN: usize = 4096;
/// Longest bincode head of a frame.
pub const HEAD_BYTES_MAX: usize = 60 * 1024;
/// Longest head before a peer has been welcomed.
pub const HANDSHAKE_HEAD_BYTES_MAX: usize = 4096;
/// Longest payload that rides in a request or a response itself, without credits.
pub const INLINE_TAIL_BYTES_MAX: usize = 64 * 1024;
/// What bincode may allocate while it decodes one head. It counts sizes in memory, not on the wire.
pub const DECODE_BYTES_MAX: usize = 1024 * 1024;
/// Streams open at once on one connection.
pub const STREAMS_MAX: usize = 256;
/// Control frames (responses, pongs, refusals) waiting for a slow socket before the connection is given up. What
/// streams put there is bounded by [`STREAMS_MAX`] already: at worst that many responses of a full head and tail.
pub const CONTROL_QUEUE_MAX: usize = 4 * STREAMS_MAX;
/// Frames one stream may have queued for sending, whatever its credit.
pub const STREAM_QUEUE_MAX: usize = 8;
/// Looks in a row at which nothing was heard of a peer before it counts as gone (see `link::Link::tick`): its last word
/// is then as old as so many spaces between two looks, or up to one space more.
pub const SILENT_TICKS_MAX: u32 = 3;
/// Looks in a row at which a peer took not one byte of what was written to it, or nothing of the data of an answered
/// stream, before the connection or the stream is given up.
pub const IDLE_TICKS_MAX: u32 = 6;
/// Refused requests, resets, pings and frames of unknown kinds that a peer may send between two looks. A link that
/// nobody ticks closes after so many in its whole life.
pub const ABUSE_PER_TICK_MAX: u32 = 10_000;
/// Connection-level credit given to a peer at the handshake, in bytes.
pub const CONNECTION_CREDIT_BYTES: u64 = 64 * 1024 * 1024;
/// Smallest and largest chunk a file may be split into, and the default.
pub const CHUNK_BYTES_MIN: u32 = 64 * 1024;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MAX: u32 = 64 * 1024 * 1024;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_DEFAULT: u32 = 8 * 1024 * 1024;
/// Copies a file may ask for.
pub const REPLICATION_MAX: u8 = 7;
/// Default number of copies.
pub const REPLICATION_DEFAULT: u8 = 3;
/// Default number of durable copies that acknowledge a write when one falls behind.
pub const MIN_ACK_DEFAULT: u8 = 2;
/// Chunks named in one metadata request (allocation, record, location).
pub const CHUNKS_PER_REQUEST_MAX: usize = 32;
/// Chunks of one page of an upload that is gone on with.
pub const UPLOADED_PAGE_MAX: u32 = 512;
/// Entries of one listing page.
pub const LIST_PAGE_MAX: u32 = 256;
/// Chunks of one inventory page.
pub const INVENTORY_PAGE_MAX: usize = 1024;
/// Tombstones carried by one heartbeat reply.
pub const TOMBSTONES_PER_HEARTBEAT_MAX: usize = 1024;
/// Keys that are not believed any more: every datanode is told all of them.
pub const REVOKED_MAX: usize = 512;
/// Findings about a node that its heartbeat carries.
pub const NODE_FINDINGS_MAX: usize = 4;
/// Silent datanodes that a status names.
pub const SILENT_NAMED_MAX: usize = 8;
/// Bytes of one path segment, in UTF-8.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a whole path, in UTF-8.
pub const PATH_BYTES_MAX: usize = 4096;
/// Segments of a path.
pub const PATH_DEPTH_MAX: usize = 256;
/// Missing directories that one mutation makes at most on the way to a path; who needs more asks several times.
pub const CREATED_LEVELS_MAX: usize = 48;
/// Bytes of any free text in a message (error texts, names, addresses); longer text is cut before sending.
pub const TEXT_BYTES_MAX: usize = 1024;

const _: () = assert!(DATA_FRAME_BYTES.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SLAB_ALIGN));
const _: () = assert!(INLINE_TAIL_BYTES_MAX <= DATA_FRAME_BYTES, "an inline tail is received into one slab");
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(HANDSHAKE_HEAD_BYTES_MAX <= HEAD_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MIN as usize >= BLOCK_BYTES);
const _: () =
    assert!(CONNECTION_CREDIT_BYTES as usize >= DATA_FRAME_BYTES * STREAMS_MAX, "every stream can move");
const _: () = assert!(CONTROL_QUEUE_MAX >= 2 * STREAMS_MAX, "each stream may queue its end and its answer");
const _: () = assert!(SILENT_TICKS_MAX <= IDLE_TICKS_MAX);
const _: () = assert!(PATH_BYTES_MAX < HEAD_BYTES_MAX / 4);

/// How far the stamp of an operation id may be ahead of the coordinator's time: more than clocks of one day drift apart.
pub const OP_STAMP_AHEAD_MS: u64 = 60_000;
