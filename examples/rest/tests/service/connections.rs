//! Two thousand connections: they wait, or are closed; nothing is used up.

use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diarist::assets::SAMPLE;
use serde_json::json;

use crate::harness::{Rest, TOKEN, program};

/// As many as the system takes; those for which it has no queue are not waited for.
fn open(rest: &Rest, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect_timeout(&rest.address, Duration::from_millis(5)).ok();
    (0..count).filter_map(connect).collect()
}

#[test]
fn two_thousand_connections_use_up_neither_memory_nor_files() {
    rlimit::increase_nofile_limit(4096).unwrap();
    let rest = Rest::start(&["--max-connections", "200", "--read-time", "2"]);
    let (memory, files) = (rest.memory("VmHWM:"), rest.open_files());
    let done = AtomicBool::new(false);
    let (open, most) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(rest.open_files());
                std::thread::sleep(Duration::from_millis(2));
            }
            most
        });
        let open = open(&rest, 2000);
        rest.wait_until("full", || rest.open_files() >= files + 190);
        done.store(true, Ordering::Relaxed);
        (open, watch.join().unwrap())
    });
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
    let open = open(&rest, 150);
    rest.wait_until("out of files", || rest.open_files() == 64);
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
    drop(open);
}
