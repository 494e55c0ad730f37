//! `dfsctl stat`: all that is known of files and directories.

use crate::connect::invocation::Invocation;
use crate::operands::Operands;
use crate::output::exit::Exit;
use crate::output::failure::Outcome;
use crate::output::list::List;
use crate::output::page::{Page, Paint};
use crate::output::text::{plain, size};
use crate::output::views::EntryView;

/// Shows all that is known of files and directories
#[derive(Debug, clap::Args)]
#[command(mut_arg("paths", |paths| paths.help("Files, directories or patterns")))]
pub(crate) struct Args {
    #[command(flatten)]
    operands: Operands,
}

/// Runs `dfsctl stat`.
///
/// # Errors
/// If a path is not there.
pub(crate) async fn run(invocation: &Invocation, args: Args) -> Outcome<Exit> {
    let client = invocation.client().await?;
    let (paths, mut tally) = args.operands.expand(invocation, &client).await;
    let mut list = List::new(invocation.output, "entries");
    for path in &paths {
        match client.stat(path).await {
            Ok(stat) => {
                let view = EntryView::from(&stat);
                tally.count(list.push(&view, |paint| page(&view, paint)));
            }
            Err(e) => tally.fail(e.into()),
        }
    }
    list.finish_after(&tally)?;
    tally.finish("paths")?;
    Ok(Exit::Ok)
}

fn page(view: &EntryView, paint: Paint) -> String {
    const WIDTH: usize = 8;
    let mut page = Page::new(paint);
    page.field(WIDTH, "path", paint.bold(&plain(&view.path)));
    page.field(WIDTH, "type", view.kind);
    if let (Some(version), Some(chunks), Some(chunk_size)) = (&view.version, view.chunks, view.chunk_size) {
        page.field(WIDTH, "size", format!("{} ({} bytes)", size(view.size), view.size));
        page.field(WIDTH, "version", version);
        page.field(WIDTH, "chunks", format!("{chunks} of up to {}", size(u64::from(chunk_size))));
        page.field(WIDTH, "copies", view.replication.unwrap_or(0).to_string());
    }
    page.field(WIDTH, "modified", &view.modified);
    page.field(WIDTH, "created", &view.created);
    page.field(WIDTH, "inode", view.inode.to_string());
    page.finish()
}
