//! Lists a tree, entry by entry, however large it is: `list HOST:PORT /path`.

use dfs_client::{Client, ClientConfig};
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, path] = args.as_slice() else { anyhow::bail!("usage: list HOST:PORT /path") };
    let client = Client::connect(ClientConfig::new([endpoint])).await?;

    let mut entries = client.list(&path.parse()?, true).into_stream();
    while let Some(entry) = entries.try_next().await? {
        println!("{:>12} {}", entry.size, entry.path);
    }
    Ok(())
}
