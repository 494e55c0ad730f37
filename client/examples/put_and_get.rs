//! Stores a file and fetches it again: `put_and_get HOST:PORT LOCAL /path COPY`.

use dfs_client::{Client, ClientConfig, DfsPath, GetOptions, PutOptions, PutSource, read_identity};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, local, path, copy] = args.as_slice() else {
        anyhow::bail!("usage: put_and_get HOST:PORT LOCAL /path COPY");
    };
    let mut config = ClientConfig::new([endpoint]);
    // Who the user is, as `dfsctl` takes it; without it connections are plain.
    config.tls = std::env::var_os("DFS_IDENTITY").map(|dir| read_identity(dir.as_ref())).transpose()?;
    let client = Client::connect(config).await?;
    let path: DfsPath = path.parse()?;

    let put = client.put(PutSource::path(local), &path, PutOptions::new().parents(true)).await?;
    println!("stored {} bytes as version {}", put.stat.size, put.stat.version);

    let got = client.get_to_path(&path, copy.as_ref(), GetOptions::new().resume(true)).await?;
    println!("fetched {} bytes, all of them verified", got.bytes);
    Ok(())
}
