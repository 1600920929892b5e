// SPDX-License-Identifier: GPL-2.0

//! SRP byte by byte: login, responses and requests of the target, task management, datagrams, names.

use scst_proto::residual::Residual;
use scst_proto::sense::INVALID_OPCODE;
use scst_proto::srp::cmd::Cmd;
use scst_proto::srp::iu::{cred_req, t_logout, AerReq, Iu, IuError, Outcome, Rsp};
use scst_proto::srp::login::{self, LoginError, LoginRequest, MultiChannel, RejectReason};
use scst_proto::srp::tsk_mgmt::{code, function, ResponseCode, TskMgmt};
use scst_proto::srp::{limits, names, Consequence, LogoutReason, PortId};
use scst_proto::task::{Function, Response};

const GUID: u64 = 0x0000_00ff_fe00_0001;
const GID: [u8; 16] = [
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 0x01,
];

/// What the Linux initiator sends over IB/CM: 8260 bytes, both formats, immediate data at 80.
fn ib_login(flags: u8) -> [u8; 64] {
    let mut iu = [0; 64];
    iu[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    iu[18..20].copy_from_slice(&[0x20, 0x44]);
    iu[25] = 0x06;
    iu[26] = flags;
    iu[29] = 80;
    iu[40..48].copy_from_slice(&GUID.to_be_bytes());
    iu[48..56].copy_from_slice(&2u64.to_be_bytes());
    iu[56..64].copy_from_slice(&GUID.to_be_bytes());
    iu
}

/// The same over RDMA/CM.
fn rdma_login(flags: u8) -> [u8; 56] {
    let mut iu = [0; 56];
    iu[0..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    iu[9] = 0x06;
    iu[10] = flags;
    iu[14..16].copy_from_slice(&[0x20, 0x44]);
    iu[24..32].copy_from_slice(&GUID.to_be_bytes());
    iu[32..40].copy_from_slice(&2u64.to_be_bytes());
    iu[40..48].copy_from_slice(&GUID.to_be_bytes());
    iu[49] = 80;
    iu
}

#[test]
fn logins() {
    for flags in 0..=255u8 {
        let request = LoginRequest::parse(&ib_login(flags)).unwrap();
        assert_eq!(LoginRequest::parse_rdma_cm(&rdma_login(flags)), Ok(request));
        assert_eq!(request.tag, 0x0102_0304_0506_0708);
        assert_eq!((request.it_iu_len, request.buffer_formats), (8260, 6));
        assert_eq!(request.initiator, PortId::new(0, GUID));
        assert_eq!(request.target, PortId::new(2, GUID));
        let action = match flags & 3 {
            0 => MultiChannel::Single,
            1 => MultiChannel::Multiple,
            _ => MultiChannel::Reserved,
        };
        assert_eq!(request.multi_channel(), action);
        assert_eq!(request.logout_solicited(), flags & 0x10 != 0);
        assert_eq!(request.credit_solicited(), flags & 0x20 != 0);
        assert_eq!(request.event_solicited(), flags & 0x40 != 0);
        let offset = (flags & 0x80 != 0).then_some(80);
        assert_eq!(request.imm_data_offset(), offset);
    }
    let mut padded = ib_login(0).to_vec();
    padded.resize(92, 0);
    assert!(LoginRequest::parse(&padded).is_ok());
    assert_eq!(
        LoginRequest::parse(&padded[..63]),
        Err(LoginError::TooShort)
    );
    assert_eq!(
        LoginRequest::parse_rdma_cm(&rdma_login(0)[..55]),
        Err(LoginError::TooShort)
    );
    padded[0] = 2;
    assert_eq!(LoginRequest::parse(&padded), Err(LoginError::Type(2)));
    let mut rdma = rdma_login(0);
    rdma[11] = 0xc0;
    assert_eq!(
        LoginRequest::parse_rdma_cm(&rdma),
        Err(LoginError::Type(0xc0))
    );
}

#[test]
fn rejection() {
    let iu = login::reject(0x0102_0304_0506_0708, RejectReason::ChannelLimit);
    let mut expected = [0; 32];
    expected[..16].copy_from_slice(&[0xc2, 0, 0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8]);
    expected[25] = 0x06;
    assert_eq!(iu, expected);
}

fn rsp(outcome: Outcome<'_>) -> Rsp<'_> {
    Rsp {
        tag: 0x0102_0304_0506_0708,
        delta: 0x1234,
        solicited: true,
        outcome,
    }
}

fn written(rsp: &Rsp<'_>, room: usize) -> Option<Vec<u8>> {
    let mut buf = vec![0xee; room];
    let len = rsp.write(&mut buf)?;
    assert!(buf[len..].iter().all(|b| *b == 0xee));
    buf.truncate(len);
    Some(buf)
}

#[test]
fn responses() {
    let mut expected = vec![0xc1, 1, 0, 0, 0, 0, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8];
    expected.resize(36, 0);
    let good = Outcome::Command {
        status: 0,
        data_out: Residual::None,
        data_in: Residual::None,
        sense: &[],
    };
    assert_eq!(written(&rsp(good), 36).unwrap(), expected);
    assert_eq!(written(&rsp(good), 35), None);
    // Flags and counts of all residuals.
    let none = Residual::None;
    for (data_out, data_in, flags) in [
        (Residual::Overflow(0xa1b2_c3d4), none, 0x04),
        (Residual::Underflow(0xa1b2_c3d4), none, 0x08),
        (none, Residual::Overflow(0xa1b2_c3d4), 0x10),
        (none, Residual::Underflow(0xa1b2_c3d4), 0x20),
    ] {
        let outcome = Outcome::Command {
            status: 0x28,
            data_out,
            data_in,
            sense: &[],
        };
        let mut expected = expected.clone();
        (expected[18], expected[19]) = (flags, 0x28);
        let at = if flags < 0x10 { 20 } else { 24 };
        expected[at..at + 4].copy_from_slice(&[0xa1, 0xb2, 0xc3, 0xd4]);
        assert_eq!(written(&rsp(outcome), 64).unwrap(), expected);
    }
    // Sense data, whole and cut.
    let mut sense = [0; 18];
    assert_eq!(INVALID_OPCODE.encode(false, &mut sense), 18);
    let check = Outcome::Command {
        status: 0x02,
        data_out: none,
        data_in: none,
        sense: &sense,
    };
    for room in [36usize, 37, 53, 54, 55, 256] {
        let fits = (room - 36).min(18);
        let mut expected = expected.clone();
        (expected[18], expected[19]) = (if fits > 0 { 2 } else { 0 }, 0x02);
        expected[31] = fits as u8;
        expected.extend(&sense[..fits]);
        assert_eq!(written(&rsp(check), room).unwrap(), expected);
    }
    // Task management.
    for response in [
        ResponseCode::Complete,
        ResponseCode::FieldsInvalid,
        ResponseCode::NotSupported,
        ResponseCode::Failed,
    ] {
        let mut expected = expected.clone();
        expected[18] = 1;
        expected[35] = 4;
        expected.extend([0, 0, 0, response as u8]);
        let rsp = rsp(Outcome::TaskManagement(response));
        assert_eq!(written(&rsp, 40).unwrap(), expected);
        assert_eq!(written(&rsp, 39), None);
    }
}

#[test]
fn requests_of_the_target() {
    let tag = 0x0102_0304_0506_0708;
    assert_eq!(
        cred_req(tag, 0x1234, false),
        [0x81, 0, 0, 0, 0, 0, 0x12, 0x34, 1, 2, 3, 4, 5, 6, 7, 8]
    );
    assert_eq!(
        t_logout(tag, LogoutReason::InvalidLength, true),
        [0x80, 1, 0, 0, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]
    );
    let aer = AerReq {
        tag,
        delta: 1,
        solicited: true,
        lun: [0, 9, 0, 0, 0, 0, 0, 0],
        sense: &[0x70, 0, 6],
    };
    let mut expected = vec![0x82, 1, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    expected.extend([0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
    expected.extend([0, 0, 0, 3, 0, 0, 0, 0, 0x70, 0, 6]);
    let mut buf = [0xee; 39];
    assert_eq!(aer.write(&mut buf), Some(39));
    assert_eq!(buf[..], expected);
    assert_eq!(aer.write(&mut buf[..37]), Some(37));
    assert_eq!((buf[31], buf[36]), (1, 0x70));
    assert_eq!(aer.write(&mut buf[..35]), None);
}

#[test]
fn units_of_the_initiator() {
    for iu_type in 0..=255u8 {
        let mut iu = [0; 64];
        iu[0] = iu_type;
        iu[15] = 7;
        let min = match iu_type {
            0x01 | 0x02 => 48,
            0x03 | 0x41 | 0x42 => 16,
            other => {
                let error = match other {
                    0x00 => IuError::Login,
                    0x80..=0x82 | 0xc0..=0xc2 => IuError::FromTarget(other),
                    _ => IuError::Unknown(other),
                };
                assert_eq!(Iu::parse(&iu[..1]), Err(error));
                assert_eq!(
                    error.consequence(),
                    Consequence::Close(LogoutReason::InvalidType)
                );
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let short = IuError::TooShort(iu_type);
        assert_eq!(Iu::parse(&iu[..min - 1]), Err(short));
        assert_eq!(
            short.consequence(),
            Consequence::Close(LogoutReason::InvalidLength)
        );
        let unit = Iu::parse(&iu[..min]).unwrap();
        assert_eq!((unit.tag(), unit.is_request()), (7, min == 48));
    }
    assert_eq!(Iu::parse(&[]), Err(IuError::Empty));
    assert_eq!(Cmd::parse(&[1; 48]), None);
    assert_eq!(TskMgmt::parse(&[2; 48]), None);
}

#[test]
fn task_management() {
    let mut iu = [0; 48];
    iu[..2].copy_from_slice(&[0x01, 0x04]);
    iu[8..16].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    iu[20..22].copy_from_slice(&[0x40, 0x11]);
    iu[30] = 0x01;
    iu[32..40].copy_from_slice(&[9, 8, 7, 6, 5, 4, 3, 2]);
    let Ok(Iu::TskMgmt(request)) = Iu::parse(&iu) else {
        panic!("no task management");
    };
    assert_eq!(
        (request.tag, request.task_tag),
        (0x0102_0304_0506_0708, 0x0908_0706_0504_0302)
    );
    assert_eq!(request.lun, 0x4011_0000_0000_0000);
    assert_eq!(request.function(), Some(Function::AbortTask));
    assert!(request.notify.wants(false) && !request.notify.wants(true));
    let known = [0x01, 0x02, 0x04, 0x08, 0x40];
    for byte in 0..=255u8 {
        match function(byte) {
            Some(f) => assert_eq!(code(f), Some(byte)),
            None => assert!(!known.contains(&byte)),
        }
    }
    for f in Function::ALL {
        assert_eq!(code(f).and_then(function), code(f).map(|_| f));
    }
    for (response, code) in [
        (Response::Complete, 0),
        (Response::NoSuchTask, 0),
        (Response::Succeeded, 0),
        (Response::IncorrectLun, 2),
        (Response::Rejected, 4),
        (Response::Failure, 5),
    ] {
        assert_eq!(ResponseCode::from(response) as u8, code);
    }
}

#[test]
fn recorded_names() {
    // As C SCST's attributes and log have them.
    assert_eq!(
        names::gid(&GID).as_str(),
        "fe80:0000:0000:0000:0000:00ff:fe00:0001"
    );
    let info = names::login_info(GUID, &GID);
    assert_eq!(
        info.as_str(),
        "tid_ext=000000fffe000001,ioc_guid=000000fffe000001,pkey=ffff,dgid=fe80000000000000000000fffe000001,\
         service_id=000000fffe000001\n"
    );
    assert_eq!(info.as_bytes().len(), names::LOGIN_INFO_LEN);
    let session = |source| names::session(&source).as_str().to_owned();
    assert_eq!(
        session(names::Source::V4([192, 168, 77, 1])),
        "192.168.77.1"
    );
    assert_eq!(session(names::Source::V4([255; 4])), "255.255.255.255");
    assert_eq!(session(names::Source::Gid(GID)), names::gid(&GID).as_str());
    assert_eq!(
        session(names::Source::V6([0; 16])),
        "0000:0000:0000:0000:0000:0000:0000:0000"
    );
    assert_eq!(names::guid(GUID).as_str(), "0000:00ff:fe00:0001");
    let id = PortId::new(0xa, GUID);
    assert_eq!((id.id_extension(), id.guid()), (0xa, GUID));
    assert_eq!(
        names::port_id(&id).as_str(),
        "0x000000000000000a000000fffe000001"
    );
    // Where a target is a whole device.
    assert_eq!(
        names::session_by_ports(&id, None).as_str(),
        "0x000000000000000a000000fffe000001"
    );
    let mut gid = GID;
    gid[15] = 9;
    assert_eq!(
        names::session_by_ports(&id, Some(&gid)).as_str(),
        "0x000000fffe000009000000fffe000001"
    );
    assert_eq!(
        names::service_name(GUID).as_str(),
        "SRP.T10:000000fffe000001"
    );
    let mut expected = [0; 24];
    expected[0] = 4;
    expected[15] = 0xa;
    expected[16..].copy_from_slice(&GUID.to_be_bytes());
    assert_eq!(names::transport_id(&id), expected);
}

#[test]
fn pieces_of_a_work_request() {
    // What the device says, the margin, what is used.
    for (most, delta, used) in [
        (32, 3, 29),
        (32, 0, 32),
        (6, 3, 3),
        (5, 3, 3),
        (3, 3, 3),
        (2, 3, 2),
        (1, 3, 1),
        (1, u32::MAX, 1),
        (u32::MAX, 3, u32::MAX - 3),
    ] {
        assert_eq!(limits::pieces(most, delta), used, "{most} {delta}");
    }
}

#[test]
fn request_limits() {
    // Buffers, commands of a logical unit, the limit.
    for (places, task_set, limit) in [
        (128, 64, 64),
        (128, 128, 128),
        (128, 4096, 128),
        (40, 64, 40),
        (128, 1, 2),
        (128, 0, 2),
        (2, 64, 2),
        (1, 64, 0),
        (0, 64, 0),
        (u32::MAX, u32::MAX, u16::MAX),
    ] {
        assert_eq!(
            limits::request_limit(places, task_set),
            limit,
            "{places} {task_set}"
        );
    }
}
