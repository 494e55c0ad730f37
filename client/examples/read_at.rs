//! Reads some bytes from the middle of a file: `read_at HOST:PORT /path OFFSET COUNT`.

use std::io::SeekFrom;

use dfs_client::{Client, ClientConfig, GetOptions, read_identity};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, path, offset, count] = args.as_slice() else {
        anyhow::bail!("usage: read_at HOST:PORT /path OFFSET COUNT");
    };
    let mut config = ClientConfig::new([endpoint]);
    // Who the user is, as `dfsctl` takes it; without it connections are plain.
    config.tls = std::env::var_os("DFS_IDENTITY").map(|dir| read_identity(dir.as_ref())).transpose()?;
    let client = Client::connect(config).await?;

    let mut file = client.open(&path.parse()?, GetOptions::new()).await?;
    file.seek(SeekFrom::Start(offset.parse()?)).await?;
    let mut bytes = Vec::new();
    file.take(count.parse()?).read_to_end(&mut bytes).await?;
    let mut out = tokio::io::stdout();
    out.write_all(&bytes).await?;
    out.flush().await?;
    Ok(())
}
