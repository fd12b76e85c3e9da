//! Bytes of `__consumer_offsets` records, taken apart by hand.

use bytes::Bytes;

use super::{
    CommittedOffset, GroupMetadata, MemberMetadata, RecordKey, decode_group_value, decode_key,
    decode_offset_value, encode_group_key, encode_group_value, encode_offset_key,
    encode_offset_value,
};

/// Reads hex; `'text'` stands for its bytes, so that the layout stays readable.
fn bytes(layout: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in layout.split_whitespace() {
        if let Some(text) = word.strip_prefix('\'') {
            bytes.extend_from_slice(text.trim_end_matches('\'').as_bytes());
            continue;
        }
        for pair in word.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            bytes.push(u8::from_str_radix(pair, 16).unwrap());
        }
    }
    bytes
}

fn offset() -> CommittedOffset {
    CommittedOffset {
        offset: 42,
        leader_epoch: Some(7),
        metadata: "md".into(),
        commit_timestamp_ms: 0x0102_0304_0506_0708,
        expire_timestamp_ms: None,
    }
}

fn group() -> GroupMetadata {
    GroupMetadata {
        protocol_type: "consumer".into(),
        generation_id: 3,
        protocol_name: Some("range".into()),
        leader: Some("m".into()),
        state_timestamp_ms: Some(5),
        members: vec![MemberMetadata {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: 300_000,
            session_timeout_ms: 45_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"as"),
        }],
    }
}

#[test]
fn keys_have_kafkas_bytes() {
    let key = bytes("0001 0001 'g' 0002 'tt' 00000005");
    assert_eq!(encode_offset_key("g", "tt", 5), key);
    let offset = RecordKey::Offset {
        group_id: "g".into(),
        topic: "tt".into(),
        partition: 5,
    };
    assert_eq!(decode_key(&key), Ok(offset.clone()));
    assert_eq!(
        decode_key(&bytes("0000 0001 'g' 0002 'tt' 00000005")),
        Ok(offset)
    );
    let key = bytes("0002 0003 'grp'");
    assert_eq!(encode_group_key("grp"), key);
    assert_eq!(
        decode_key(&key),
        Ok(RecordKey::Group {
            group_id: "grp".into()
        })
    );
    // 3 is the key of a KIP-848 group, 11 of a share group.
    assert_eq!(
        decode_key(&bytes("0003 0001 'g'")),
        Ok(RecordKey::Foreign { version: 3 })
    );
    assert_eq!(
        decode_key(&bytes("000b")),
        Ok(RecordKey::Foreign { version: 11 })
    );
}

#[test]
fn offset_is_written_in_version_3_and_in_version_1_with_its_own_expiry() {
    let value = bytes("0003 000000000000002a 00000007 0002 'md' 0102030405060708");
    assert_eq!(encode_offset_value(&offset()), value);
    assert_eq!(decode_offset_value(&value), Ok(offset()));
    let expiring = CommittedOffset {
        leader_epoch: None,
        expire_timestamp_ms: Some(9),
        ..offset()
    };
    let value = bytes("0001 000000000000002a 0002 'md' 0102030405060708 0000000000000009");
    assert_eq!(encode_offset_value(&expiring), value);
    assert_eq!(decode_offset_value(&value), Ok(expiring));
    let no_epoch = CommittedOffset {
        leader_epoch: None,
        ..offset()
    };
    let value = bytes("0003 000000000000002a ffffffff 0002 'md' 0102030405060708");
    assert_eq!(encode_offset_value(&no_epoch), value);
    assert_eq!(decode_offset_value(&value), Ok(no_epoch));
}

#[test]
fn offset_is_read_in_every_version() {
    let no_epoch = CommittedOffset {
        leader_epoch: None,
        ..offset()
    };
    for version in ["0000", "0002"] {
        let value = bytes(&format!(
            "{version} 000000000000002a 0002 'md' 0102030405060708"
        ));
        assert_eq!(decode_offset_value(&value), Ok(no_epoch.clone()));
    }
    // Version 4: compact string, tagged fields; tag 0 is a topic id that is not needed.
    let plain = bytes("0004 000000000000002a 00000007 03 'md' 0102030405060708 00");
    assert_eq!(decode_offset_value(&plain), Ok(offset()));
    let tagged = bytes(
        "0004 000000000000002a 00000007 03 'md' 0102030405060708 \
         01 00 10 00112233445566778899aabbccddeeff",
    );
    assert_eq!(decode_offset_value(&tagged), Ok(offset()));
}

#[test]
fn group_is_written_in_version_3() {
    let value = bytes(
        "0003 0008 'consumer' 00000003 0005 'range' 0001 'm' 0000000000000005 \
         00000001 0001 'm' 0001 'i' 0001 'c' 0002 '/h' 000493e0 0000afc8 \
         00000003 'sub' 00000002 'as'",
    );
    assert_eq!(encode_group_value(&group()), value);
    assert_eq!(decode_group_value(&value), Ok(group()));
}

#[test]
fn empty_group_is_written_with_nulls() {
    let empty = GroupMetadata {
        protocol_name: None,
        leader: None,
        state_timestamp_ms: None,
        members: Vec::new(),
        ..group()
    };
    let value = bytes("0003 0008 'consumer' 00000003 ffff ffff ffffffffffffffff 00000000");
    assert_eq!(encode_group_value(&empty), value);
    assert_eq!(decode_group_value(&value), Ok(empty));
}

#[test]
fn group_is_read_in_every_version() {
    let mut expected = group();
    let head = "0008 'consumer' 00000003 0005 'range' 0001 'm'";
    let tail = "00000003 'sub' 00000002 'as'";
    expected.members[0].group_instance_id = None;
    let value = format!(
        "0002 {head} 0000000000000005 00000001 0001 'm' 0001 'c' 0002 '/h' 000493e0 0000afc8 {tail}"
    );
    assert_eq!(decode_group_value(&bytes(&value)), Ok(expected.clone()));
    expected.state_timestamp_ms = None;
    let value =
        format!("0001 {head} 00000001 0001 'm' 0001 'c' 0002 '/h' 000493e0 0000afc8 {tail}");
    assert_eq!(decode_group_value(&bytes(&value)), Ok(expected.clone()));
    // Version 0 has no rebalance timeout: the session timeout stands for it.
    expected.members[0].rebalance_timeout_ms = 45_000;
    let value = format!("0000 {head} 00000001 0001 'm' 0001 'c' 0002 '/h' 0000afc8 {tail}");
    assert_eq!(decode_group_value(&bytes(&value)), Ok(expected));
    let value = "0004 09 'consumer' 00000003 06 'range' 02 'm' 0000000000000005 \
                 02 02 'm' 02 'i' 02 'c' 03 '/h' 000493e0 0000afc8 04 'sub' 03 'as' 00 00";
    assert_eq!(decode_group_value(&bytes(value)), Ok(group()));
}

#[test]
fn damaged_records_are_errors() {
    let group_value = encode_group_value(&group());
    for end in 0..group_value.len() {
        assert!(
            decode_group_value(&group_value[..end]).is_err(),
            "cut at {end}"
        );
    }
    let offset_value = encode_offset_value(&offset());
    for end in 0..offset_value.len() {
        assert!(
            decode_offset_value(&offset_value[..end]).is_err(),
            "cut at {end}"
        );
    }
    assert!(decode_key(b"\0").is_err());
    assert!(decode_key(&bytes("0001 0001 ff 0001 't' 00000000")).is_err());
    assert!(decode_offset_value(&bytes("0005 000000000000002a")).is_err());
    assert!(decode_offset_value(&bytes("ffff 000000000000002a")).is_err());
    // An array of two billion members in a record of 30 bytes.
    let liar = bytes("0003 0008 'consumer' 00000003 ffff ffff ffffffffffffffff 7fffffff");
    assert!(decode_group_value(&liar).is_err());
    // A varint that does not end, and one beyond 32 bits.
    assert!(decode_group_value(&bytes("0004 ffffffffffffff")).is_err());
    assert!(decode_group_value(&bytes("0004 ffffffff7f")).is_err());
}
