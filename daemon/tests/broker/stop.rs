//! Signals, and what a stop leaves behind.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{API_VERSIONS, Broker, DRIVERS, Directory, command, frame, is_closed};

#[test]
fn a_stop_while_the_disk_keeps_the_start_waiting_is_obeyed_at_once() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    assert_eq!(broker.stop(), Some(0));
    // As if writes of a killed process were still on their way.
    let journal = directory.data().join("journal/shard-000/ring-0000.journal");
    let earlier = fs::File::open(journal).unwrap();
    rustix::fs::flock(&earlier, rustix::fs::FlockOperation::LockShared).unwrap();
    for signal in ["TERM", "INT"] {
        let mut child = command(&directory.data(), &[], &[])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        let id = child.id().to_string();
        let told = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(told.unwrap().success());
        let asked = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
    drop(earlier);
    let broker = Broker::start(&directory.data(), &[], &[]);
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_stop_with_open_connections_is_clean_and_the_next_start_knows_it() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &["--shards", "2"], environment);
        let mut streams: Vec<_> = (0..5).map(|_| broker.connect()).collect();
        for stream in &mut streams {
            stream.write_all(&API_VERSIONS).unwrap();
            frame(stream);
        }
        let started = Instant::now();
        assert_eq!(broker.stop(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(5));
        for stream in &mut streams {
            assert!(is_closed(stream));
        }
        assert!(directory.data().join("sluice.clean").exists());
        let mut killed = Broker::start(&directory.data(), &[], environment);
        assert!(!directory.data().join("sluice.clean").exists());
        killed.signal("KILL");
        killed.wait();
        let again = Broker::start(&directory.data(), &[], environment);
        again.signal("INT");
        let mut again = again;
        assert_eq!(again.wait(), Some(0));
    }
}

#[test]
fn signals_at_once_are_one_wish_to_stop() {
    let directory = Directory::new();
    let mut broker = Broker::start(&directory.data(), &["--shards", "2"], &[]);
    let mut stream = broker.connect();
    stream.write_all(&API_VERSIONS).unwrap();
    broker.signal("TERM");
    broker.signal("TERM");
    assert_eq!(broker.wait(), Some(0));
    assert!(directory.data().join("sluice.clean").exists());
}
