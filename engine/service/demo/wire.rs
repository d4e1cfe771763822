//! The way between router and partner, which somebody who shows the demo may cut and mend by a line on standard input. Invariant: while it
//! is cut nothing connects and nothing that was connected is left, as with a cable that is pulled; nothing else of the estate is
//! touched.

use std::io::BufRead;
use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Both directions.
#[derive(Debug)]
pub struct Wire {
    whole: watch::Sender<bool>,
}

impl Wire {
    /// Lays it: each pair is a port of the host to listen on and one to pass on to.
    ///
    /// # Errors
    /// A port cannot be listened on.
    pub async fn lay(host: Ipv4Addr, pairs: [(u16, u16); 2]) -> Result<Self, String> {
        let (whole, _) = watch::channel(true);
        for (from, to) in pairs {
            let listener = TcpListener::bind((host, from)).await;
            let listener = listener.map_err(|error| format!("port {from}: {error}"))?;
            tokio::spawn(pass(listener, (host, to), whole.subscribe()));
        }
        Ok(Self { whole })
    }

    /// Obeys lines of standard input, `down` and `up`, until it ends.
    pub fn obey(&self) {
        let whole = self.whole.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match line.trim() {
                    "down" => drop(whole.send_replace(false)),
                    "up" => drop(whole.send_replace(true)),
                    "" => {}
                    other => eprintln!("{other:?} is none of: down, up"),
                }
            }
        });
    }

    /// Tells whenever it is cut or mended.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.whole.subscribe()
    }
}

async fn pass(listener: TcpListener, to: (Ipv4Addr, u16), whole: watch::Receiver<bool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut whole = whole.clone();
        if !*whole.borrow() {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(to).await else { return };
            tokio::select! {
                // However it ends, both ends are dropped.
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = whole.wait_for(|whole| !*whole) => {}
            }
        });
    }
}
