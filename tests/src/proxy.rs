//! A TCP proxy on loopback that hurts what goes through it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::{self, Runtime},
    sync::watch,
};

/// What the proxy does to bytes that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Each piece comes so much later.
    Delay(Duration),
    /// Nothing passes and nothing closes: a cable that was pulled.
    Stall,
    /// One bit of the next piece of 4 KiB or more is flipped, once.
    FlipBit,
    /// Connections are closed, old ones and new ones.
    Cut,
}

struct Shared {
    fault: watch::Sender<Fault>,
    flips: Mutex<u64>,
    /// What passed, if that is kept.
    recorded: Mutex<Option<Vec<u8>>>,
    target: String,
}

impl Shared {
    /// Takes the order to flip a bit, if there is one.
    fn take_flip(&self, piece: &mut [u8]) {
        if piece.len() < 4096 || *self.fault.borrow() != Fault::FlipBit {
            return;
        }
        let middle = piece.len() / 2;
        piece[middle] ^= 0x10;
        self.fault.send_replace(Fault::None);
        *self.flips.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

/// A proxy in front of one address. It ends when dropped.
pub struct FaultProxy {
    address: String,
    shared: Arc<Shared>,
    // Its own, so that tests without a runtime can have one, and tests that block theirs do not stall it.
    runtime: Option<Runtime>,
}

impl FaultProxy {
    /// Listens on a free port, and connects to `target` for each connection that comes.
    pub fn start(target: &str) -> Self {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            fault: watch::Sender::new(Fault::None),
            flips: Mutex::new(0),
            recorded: Mutex::default(),
            target: target.to_owned(),
        });
        runtime.spawn(accept(listener, shared.clone()));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes what happens from now on.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Keeps from now on what passes, in both directions.
    pub fn record(&self) {
        *self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(vec![]);
    }

    /// What passed since.
    pub fn recorded(&self) -> Vec<u8> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// Bits flipped so far.
    pub fn flips(&self) -> u64 {
        *self.shared.flips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((near, _)) = listener.accept().await {
        if *shared.fault.borrow() == Fault::Cut {
            continue;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(&shared.target).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let mut fault = shared.fault.subscribe();
            tokio::select! {
                () = pass(near_in, far_out, &shared) => {}
                () = pass(far_in, near_out, &shared) => {}
                _ = fault.wait_for(|fault| *fault == Fault::Cut) => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut fault = shared.fault.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let len = match from.read(&mut buffer).await {
            Ok(len) if len > 0 => len,
            _ => break,
        };
        let now = *fault.borrow_and_update();
        match now {
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Stall => {
                // What waited does not slip through a line that was cut meanwhile.
                match fault.wait_for(|fault| *fault != Fault::Stall).await {
                    Ok(now) if *now != Fault::Cut => {}
                    _ => return,
                }
            }
            _ => shared.take_flip(&mut buffer[..len]),
        }
        if let Some(recorded) = &mut *shared.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
            recorded.extend_from_slice(&buffer[..len]);
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(bytes).await?;
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await.map(|_| back)
    }

    #[tokio::test]
    async fn bytes_pass_and_are_flipped_stalled_and_cut_on_order() {
        let proxy = FaultProxy::start(&echo().await);
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        let sent = vec![7; 8192];
        assert_eq!(round_trip(&mut stream, &sent).await.expect("passes"), sent);
        proxy.set(Fault::FlipBit);
        let back = round_trip(&mut stream, &sent).await.expect("passes");
        assert_eq!(back.iter().zip(&sent).filter(|(a, b)| a != b).count(), 1);
        assert_eq!(proxy.flips(), 1);
        proxy.set(Fault::Stall);
        let stalled = tokio::time::timeout(Duration::from_millis(100), round_trip(&mut stream, b"x")).await;
        assert!(stalled.is_err(), "nothing passes");
        proxy.set(Fault::Cut);
        assert!(round_trip(&mut stream, b"y").await.is_err(), "closed");
    }
}
