//! Reads some bytes from the middle of a file: `read_at HOST:PORT /path OFFSET COUNT`.

use std::io::SeekFrom;

use dfs_client::{Client, ClientConfig, GetOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, path, offset, count] = args.as_slice() else {
        anyhow::bail!("usage: read_at HOST:PORT /path OFFSET COUNT");
    };
    let client = Client::connect(ClientConfig::new([endpoint])).await?;

    let mut file = client.open(&path.parse()?, GetOptions::new()).await?;
    file.seek(SeekFrom::Start(offset.parse()?)).await?;
    let mut bytes = Vec::new();
    file.take(count.parse()?).read_to_end(&mut bytes).await?;
    let mut out = tokio::io::stdout();
    out.write_all(&bytes).await?;
    out.flush().await?;
    Ok(())
}
