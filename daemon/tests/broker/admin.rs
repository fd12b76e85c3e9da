//! The admin listener.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::process::{API_VERSIONS, Broker, DRIVERS, Directory, frame, is_closed};

#[test]
fn admin_http_tells_health_and_numbers() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &["--shards", "2"], environment);
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        frame(&mut stream);
        assert!(broker.get("/healthz").starts_with("HTTP/1.1 200"));
        assert!(broker.get("/readyz").starts_with("HTTP/1.1 200"));
        let metrics = broker.get("/metrics");
        for expected in [
            "sluice_request_seconds_count{shard=\"0\",api=\"ApiVersions\"} 1",
            "sluice_connections{shard=\"0\"} 1",
            "sluice_memory_budget_limit_bytes{shard=\"1\",budget=\"requests\"}",
            "sluice_resident_memory_bytes ",
            "sluice_shards_silent 0",
        ] {
            assert!(metrics.contains(expected), "{expected} in {metrics}");
        }
        let driver = if environment.is_empty() {
            "io_uring"
        } else {
            "epoll"
        };
        let info = format!("sluice_io_driver{{driver=\"{driver}\"}} 1");
        assert!(metrics.contains(&info), "{metrics}");
    }
}

#[test]
fn admin_http_holds_little_for_many_who_never_finish() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &["--memory", "64M"], &[]);
    let before = broker.resident_kib();
    let address = broker.admin.trim_start_matches("http://");
    let address = address.split('/').next().unwrap();
    let mut head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
    head.resize(300_000, b'a');
    let mut silent = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        let patience = Some(Duration::from_millis(20));
        stream.set_write_timeout(patience).unwrap();
        // Those that are not let in take no more than the kernel holds for them.
        let _refused = stream.write_all(&head);
        silent.push(stream);
    }
    let grown = broker.resident_kib() - before;
    assert!(grown < 16 * 1024, "{grown} KiB for 100 connections");
    drop(silent);
    assert!(broker.get("/healthz").starts_with("HTTP/1.1 200"));
    let mut quiet = TcpStream::connect(address).unwrap();
    quiet
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    assert!(is_closed(&mut quiet), "a connection without a request ends");
    assert_eq!(broker.stop(), Some(0));
}
