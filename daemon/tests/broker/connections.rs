//! Connections: frames, strangers, limits.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::process::{API_VERSIONS, Broker, DRIVERS, Directory, frame, is_closed};

#[test]
fn api_versions_is_answered_in_order_on_both_drivers_and_any_number_of_shards() {
    for environment in DRIVERS {
        for shards in ["1", "2"] {
            let directory = Directory::new();
            let broker = Broker::start(&directory.data(), &["--shards", shards], environment);
            for _connection in 0..4 {
                let mut stream = broker.connect();
                let mut pipelined = Vec::new();
                for number in 0..200_u8 {
                    let mut request = API_VERSIONS;
                    request[11] = number;
                    pipelined.extend_from_slice(&request);
                }
                stream.write_all(&pipelined).unwrap();
                for number in 0..200_u8 {
                    let answer = frame(&mut stream);
                    assert_eq!(answer[..4], [0, 0, 0, number]);
                    assert_eq!(answer[4..6], [0, 0], "no error");
                }
            }
            assert_eq!(broker.stop(), Some(0));
        }
    }
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let mut stream = broker.connect();
        stream.set_nodelay(true).unwrap();
        for byte in API_VERSIONS {
            stream.write_all(&[byte]).unwrap();
        }
        assert_eq!(frame(&mut stream)[..4], [0, 0, 0, 7]);
    }
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answers() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        frame(&mut stream);
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_with_error_35() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    let mut stream = broker.connect();
    let mut request = API_VERSIONS;
    request[7] = 99;
    stream.write_all(&request).unwrap();
    let answer = frame(&mut stream);
    assert_eq!(answer[..6], [0, 0, 0, 7, 0, 35]);
    stream.write_all(&API_VERSIONS).unwrap();
    assert_eq!(frame(&mut stream)[4..6], [0, 0]);
}

#[test]
fn garbage_closes_the_connection_and_the_broker_lives() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let garbage: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\n\r\n",
            &[0xff; 64],
            &[0, 0, 0, 0],
            &[0, 0, 0, 9],
            // A key that does not exist, and a client id that is longer than the frame.
            &[0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
            &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff],
        ];
        for bytes in garbage {
            let mut stream = broker.connect();
            stream.write_all(bytes).unwrap();
            assert!(is_closed(&mut stream), "{bytes:?}");
        }
        let mut stream = broker.connect();
        stream.write_all(&API_VERSIONS).unwrap();
        frame(&mut stream);
    }
}

#[test]
fn a_stranger_may_not_send_more_than_64_kib_and_a_known_client_may() {
    let directory = Directory::new();
    let broker = Broker::start(&directory.data(), &[], &[]);
    // ApiVersions v3: the whole frame is read before its client name, which is null, is refused.
    let mut large = vec![0, 1, 0x86, 0xa0, 0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff];
    large.resize(4 + 100_000, 0);
    let mut stranger = broker.connect();
    stranger.write_all(&large[..14]).unwrap();
    assert!(is_closed(&mut stranger));
    let mut known = broker.connect();
    known.write_all(&API_VERSIONS).unwrap();
    frame(&mut known);
    known.write_all(&large).unwrap();
    assert!(is_closed(&mut known));
    let text = broker.get("/metrics");
    let received: u64 = text
        .lines()
        .filter(|line| line.starts_with("sluice_received_bytes_total{"))
        .filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(received >= 100_000, "{received}");
}

/// ApiVersions v0 whose client id makes the frame as long as wanted.
fn request_of(number: u32, client_id_bytes: u16) -> Vec<u8> {
    let length = 10 + u32::from(client_id_bytes);
    let mut request = length.to_be_bytes().to_vec();
    request.extend_from_slice(&[0, 18, 0, 0]);
    request.extend_from_slice(&number.to_be_bytes());
    request.extend_from_slice(&client_id_bytes.to_be_bytes());
    request.resize(request.len() + usize::from(client_id_bytes), b'a');
    request
}

#[test]
fn frames_of_every_size_around_the_read_buffer_are_cut_where_they_end() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &[], environment);
        let mut stream = broker.connect();
        let sizes = [
            0, 1, 4_000, 4_082, 4_083, 16_370, 16_371, 16_372, 32_767, 5, 20_000, 0,
        ];
        let requests: Vec<u8> = (0..)
            .zip(sizes)
            .flat_map(|(n, size)| request_of(n, size))
            .collect();
        for _round in 0..3 {
            stream.write_all(&requests).unwrap();
            for number in 0..u8::try_from(sizes.len()).unwrap() {
                assert_eq!(frame(&mut stream)[..6], [0, 0, 0, number, 0, 0]);
            }
        }
    }
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_loses_nothing() {
    for environment in DRIVERS {
        let directory = Directory::new();
        let broker = Broker::start(&directory.data(), &["--memory", "60M"], environment);
        let mut stream = broker.connect();
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let mut requests = Vec::new();
        for number in 0..1000 {
            requests.extend_from_slice(&request_of(number, 0));
        }
        let mut sent = 0;
        // Answers are longer than requests; the buffers of the kernel are full at some time.
        while let Ok(count) = stream.write(&requests[sent % requests.len()..]) {
            sent += count;
            assert!(sent < 100_000_000, "the broker reads without end");
        }
        let whole = sent / 14;
        let mut answers = BufReader::with_capacity(1 << 20, stream);
        for number in 0..whole {
            let expected = u32::try_from(number % 1000).unwrap().to_be_bytes();
            assert_eq!(frame(&mut answers)[..4], expected);
        }
        let text = broker.get("/metrics");
        let received: u64 = text
            .lines()
            .filter(|line| line.starts_with("sluice_received_bytes_total{"))
            .filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok())
            .sum();
        assert_eq!(received, u64::try_from(sent).unwrap());
    }
}

#[test]
fn connections_beyond_the_limits_are_closed() {
    let directory = Directory::new();
    let flags = [
        "--max-connections",
        "3",
        "--max-connections-per-ip",
        "2",
        "--shards",
        "2",
    ];
    let broker = Broker::start(&directory.data(), &flags, &[]);
    let mut open: Vec<TcpStream> = (0..2).map(|_| broker.connect()).collect();
    for stream in &mut open {
        stream.write_all(&API_VERSIONS).unwrap();
        frame(stream);
    }
    assert!(is_closed(&mut broker.connect()));
    drop(open);
    let started = Instant::now();
    loop {
        let mut stream = broker.connect();
        if stream.write_all(&API_VERSIONS).is_ok() && stream.read_exact(&mut [0; 4]).is_ok() {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "room comes back"
        );
    }
}
