//! Reads of the metadata on behalf of a request: on the lane of reads, within the request's deadline.

use std::sync::Arc;

use dfs_wire::status::Status;

use super::dispatch::{Asked, CoordinatorService};
use crate::coordinator::metadata::reader::{MetadataReader, ReadFor};

impl CoordinatorService {
    /// Has a question to the metadata answered, see [`MetadataReads::ask`].
    ///
    /// # Errors
    /// As there.
    ///
    /// [`MetadataReads::ask`]: crate::coordinator::metadata::reader::MetadataReads::ask
    pub(super) async fn apart<T: Send + 'static, E: Into<Status>>(
        self: &Arc<Self>,
        what: ReadFor,
        asked: &Asked,
        question: impl FnOnce(&Self, &MetadataReader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Status> {
        let service = Arc::clone(self);
        let left = self.left(asked);
        self.parts.reads.ask(what, left, move |reader| question(&service, reader)).await
    }

    /// The commit position now.
    pub(super) async fn position(self: &Arc<Self>, what: ReadFor, asked: &Asked) -> Result<u64, Status> {
        self.apart(what, asked, |_, reader| reader.position()).await
    }

    /// Reads of the metadata that wait for a thread.
    pub fn reads_waiting(&self) -> usize {
        self.parts.reads.waiting()
    }
}
