//! Connections: how many, how slow they may be, and how they end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::service::Service;

/// A client from which nothing is heard, or that takes nothing off the wire, for this long is gone.
const SILENT: Duration = Duration::from_secs(60);
/// For headers, and for what lies between the network and a body.
const BUFFER: usize = 64 * 1024;
/// After the work has been abandoned, how long its answers take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What connections are allowed.
pub struct Connections {
    listener: TcpListener,
    open: Arc<Semaphore>,
    http: http1::Builder,
    router: Router,
    service: Arc<Service>,
    graceful: GracefulShutdown,
}

impl Connections {
    /// Ready to accept up to `most` connections, each of which may take `read_time` to send its headers, and as long again to come
    /// up with another request.
    pub fn new(listener: TcpListener, most: usize, read_time: Duration, router: Router, service: Arc<Service>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(read_time).max_buf_size(BUFFER);
        let open = Arc::new(Semaphore::new(most));
        Connections { listener, open, http, router, service, graceful: GracefulShutdown::new() }
    }

    /// Accepts connections until `end`. A connection that was accepted before is not lost with it.
    pub async fn accept_until(&self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            // More than are allowed wait in the system's queue.
            tokio::select! {
                biased;
                () = &mut end => return,
                accepted = self.accept() => match accepted {
                    Ok((stream, permit)) => self.serve(stream, permit),
                    Err(error) => {
                        // Out of file descriptors, most likely: some will be closed.
                        tracing::warn!(%error, "a connection was not accepted");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    async fn accept(&self) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.open.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        prepare(&stream).inspect_err(|error| tracing::debug!(%error, "a connection has its own mind")).ok();
        Ok((stream, permit))
    }

    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let router = TowerToHyperService::new(self.router.clone());
        let connection = self.graceful.watch(self.http.serve_connection(TokioIo::new(stream), router));
        let service = self.service.clone();
        service.metrics.connections.inc();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            service.metrics.connections.dec();
            drop(permit);
        });
    }

    /// Accepts no more, and lets what is open come to its end: for `time`, or until somebody is `impatient`; then what is worked on
    /// is stopped. Whether nothing was lost.
    pub async fn finish(self, time: Duration, impatient: impl Future<Output = ()>) -> bool {
        drop(self.listener);
        let mut closed = std::pin::pin!(self.graceful.shutdown());
        let whole = tokio::select! {
            biased;
            () = &mut closed => true,
            () = impatient => false,
            () = sleep(time) => false,
        };
        if !whole {
            self.service.abandoned.store(true, Ordering::Relaxed);
            // Those who wait hear that it was for nothing.
            timeout(LAST_WORDS, closed).await.ok();
        }
        whole
    }
}

/// No waiting for more to send, and an end to clients that are gone without a word.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(SILENT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENT).with_interval(SILENT / 4))
}
