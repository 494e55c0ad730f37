//! Copying within the cluster: a new file that shares the chunks of another. No byte moves.

use dfs_wire::id::SessionId;
use dfs_wire::message::metadata::{
    CommitUpload, FileStat, MetadataRequest, MetadataResponse, OpenCopy, SessionOnly,
};
use dfs_wire::path::DfsPath;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::options::CopyOptions;
use crate::put::{abort, step};
use crate::rpc::unexpected;

impl Client {
    /// Copies a file to exactly `to`: the copy is visible and whole when this returns, and shares its bytes with `from`
    /// until one of the two is replaced or deleted. The time it takes depends on the number of chunks alone.
    ///
    /// Cancel safety: dropping the future leaves nothing visible, unless the commit was already sent; what was begun ends
    /// with its lease.
    ///
    /// ```no_run
    /// # async fn example(client: dfs_client::Client) -> Result<(), dfs_client::Error> {
    /// use dfs_client::CopyOptions;
    /// let copy = client.copy(&"/a".parse()?, &"/b".parse()?, CopyOptions::default()).await?;
    /// println!("{} bytes, none of them moved", copy.size);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`, `InvalidArgument` (onto itself), `PreconditionFailed`, `OutcomeUnknown`.
    pub async fn copy(&self, from: &DfsPath, to: &DfsPath, options: CopyOptions) -> Result<FileStat, Error> {
        let doing = || format!("copy {from} to {to}");
        if options.parents {
            self.make_far_parents(to).await?;
        }
        let request = OpenCopy {
            from: from.clone(),
            to: to.clone(),
            if_match: options.if_match,
            precondition: options.precondition,
            parents: options.parents,
            preserve: options.preserve,
        };
        let opened = step(&self.inner, MetadataRequest::OpenCopy(request), None).await;
        let opened = match opened.map_err(|e| e.context(doing()))? {
            MetadataResponse::CopyOpened(opened) => opened,
            other => return Err(unexpected(&other)),
        };
        let copied = self.fill_and_commit(opened.session, opened.size, opened.chunk_count, &options).await;
        match copied {
            Ok(file) => Ok(file.at(to.clone())),
            Err(error) => {
                // A commit whose outcome is unknown may have been done: its session is not ours to end.
                if error.kind() != ErrorKind::OutcomeUnknown {
                    abort(&self.inner, opened.session).await;
                }
                Err(error.context(doing()))
            }
        }
    }

    async fn fill_and_commit(
        &self,
        session: SessionId,
        size: u64,
        chunk_count: u32,
        options: &CopyOptions,
    ) -> Result<dfs_wire::message::metadata::CommittedFile, Error> {
        let mut copied = 0;
        while copied < chunk_count {
            let request = MetadataRequest::CopyChunks(SessionOnly { session });
            copied = match step(&self.inner, request, None).await? {
                MetadataResponse::CopyProgress(progress) => progress.copied,
                other => return Err(unexpected(&other)),
            };
        }
        let commit = CommitUpload { session, chunks: Vec::new(), size, chunk_count, sha256: None };
        match self.inner.rpc.mutate(options.op, MetadataRequest::CommitUpload(commit)).await? {
            MetadataResponse::Committed(file) => Ok(file),
            other => Err(unexpected(&other)),
        }
    }
}
