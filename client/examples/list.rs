//! Lists a tree, entry by entry, however large it is: `list HOST:PORT /path`.

use dfs_client::{Client, ClientConfig, read_identity};
use futures_util::TryStreamExt;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, path] = args.as_slice() else { anyhow::bail!("usage: list HOST:PORT /path") };
    let mut config = ClientConfig::new([endpoint]);
    // Who the user is, as `dfsctl` takes it; without it connections are plain.
    config.tls = std::env::var_os("DFS_IDENTITY").map(|dir| read_identity(dir.as_ref())).transpose()?;
    let client = Client::connect(config).await?;

    let mut entries = client.list(&path.parse()?, true).into_stream();
    while let Some(entry) = entries.try_next().await? {
        println!("{:>12} {}", entry.size, entry.path);
    }
    Ok(())
}
