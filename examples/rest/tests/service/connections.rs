//! Two thousand connections: they wait, or are closed; nothing is used up.

use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use diarist::assets::SAMPLE;
use serde_json::json;

use crate::harness::{Rest, TOKEN, program};

/// Opens as many as the system takes; those for which it has no queue are not waited for. Waits until the service has had so many `files`
/// open at once, and says what the most were.
fn open_until(rest: &Rest, count: usize, files: usize) -> (Vec<TcpStream>, usize) {
    let (most, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let open = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(rest.open_files(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let connect = |_| TcpStream::connect_timeout(&rest.address, Duration::from_millis(5)).ok();
        let open = (0..count).filter_map(connect).collect();
        let full = std::panic::AssertUnwindSafe(|| rest.wait_until("full", || most.load(Ordering::Relaxed) >= files));
        let full = std::panic::catch_unwind(full);
        done.store(true, Ordering::Relaxed);
        full.map(|()| open)
    });
    (open.unwrap(), most.into_inner())
}

#[test]
fn two_thousand_connections_use_up_neither_memory_nor_files() {
    rlimit::increase_nofile_limit(4096).unwrap();
    let rest = Rest::start(&["--max-connections", "200", "--read-time", "2"]);
    let (memory, files) = (rest.memory("VmHWM:"), rest.open_files());
    let (open, most) = open_until(&rest, 2000, files + 190);
    assert!(open.len() >= 200, "{} of 2000", open.len());
    // One or two more may be on their way out.
    assert!(most <= files + 205, "{most} files, {files} of them before");
    // Those who say nothing are closed, and a client behind them gets its turn while they are still there.
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
    let grown = rest.memory("VmHWM:") - memory;
    assert!(grown < 256 * 1024, "{grown} KiB, with what one recording takes");
    drop(open);
    rest.wait_until("empty", || rest.metric("diarist_connections") == 1.0);
}

#[test]
fn without_file_descriptors_it_waits_for_some() {
    let inner = program();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    command.args(["--max-connections", "1000", "--read-time", "2"]);
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("DIARIST_TOKENS", TOKEN);
    let rest = Rest::run(command);
    rest.wait_until("ready", || rest.get("/ready").status == 200);
    // All there are.
    let (open, _) = open_until(&rest, 150, 64);
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
    drop(open);
}
