// SPDX-License-Identifier: GPL-2.0

//! The name server and the management server (FC-GS): what a host adapter asks them for, and no more.

use crate::switch::Fabric;
use crate::wire::{from_id_be, id_be, initiator::Ct, status};

/// Bytes before the payload of a request or response.
const PREAMBLE: usize = 16;
/// The directory service.
const DIRECTORY: u8 = 0xfc;
/// The FCP type.
const FCP: u8 = 0x08;

/// Requests.
mod code {
    pub const PORT_NAME: u16 = 0x112;
    pub const NODE_NAME: u16 = 0x113;
    pub const FABRIC_PORT_NAME: u16 = 0x11c;
    pub const FEATURES: u16 = 0x11f;
    pub const SPEED: u16 = 0x127;
    pub const PORT_NAMES: u16 = 0x172;
    pub const NODE_NAMES: u16 = 0x173;
    pub const REGISTER_PORT_NAME: u16 = 0x212;
    pub const REGISTER_NODE_NAME: u16 = 0x213;
    pub const REGISTER_TYPES: u16 = 0x217;
    pub const REGISTER_PORT_SYMBOLIC: u16 = 0x218;
    pub const REGISTER_FEATURES: u16 = 0x21f;
    pub const REGISTER_NODE_SYMBOLIC: u16 = 0x239;
}

const ACCEPT: u16 = 0x8002;
const REJECT: u16 = 0x8001;
/// Reason: unable to perform; explanation: nothing is registered.
const NOTHING: [u8; 4] = [0, 9, 7, 0];

impl Fabric {
    /// Runs a request to a server; the entry as the driver gets it back.
    pub fn name_server(&mut self, index: usize, mut entry: Ct) -> Ct {
        let mut request = vec![0; (entry.request_bytes.get() as usize).clamp(2 * PREAMBLE, 4096)];
        let asked = (entry.request_bytes.get() as usize).min(request.len());
        if let Err(fault) = self
            .memory(index)
            .read(entry.request.address.get(), &mut request[..asked])
        {
            eprintln!(
                "fabric: {}: {fault} (request to the name server)",
                self.hbas[index].name
            );
        }
        let mut response = self.answer(index, &request);
        response.truncate(entry.response.length.get() as usize);
        if let Err(fault) = self
            .memory(index)
            .write(entry.response.address.get(), &response)
        {
            eprintln!(
                "fabric: {}: {fault} (response of the name server)",
                self.hbas[index].name
            );
        }
        let short = response.len() < entry.response_bytes.get() as usize;
        entry.completion = if short {
            status::UNDERRUN
        } else {
            status::COMPLETE
        }
        .into();
        entry.response_bytes = 0.into();
        entry
    }

    fn answer(&mut self, index: usize, request: &[u8]) -> Vec<u8> {
        let code = u16::from_be_bytes([request[8], request[9]]);
        let payload = match request[4] {
            DIRECTORY => self.directory(index, code, request),
            _ if code == code::SPEED => Some(vec![0x08, 0, 0x08, 0]), // 8 Gbit/s: can, does
            _ => Some(Vec::new()),
        };
        self.trace(index, || {
            format!(
                "name server {code:#05x}: {:?} bytes",
                payload.as_ref().map(Vec::len)
            )
        });
        let mut response = request[..PREAMBLE].to_vec();
        response[10..].fill(0);
        let answer = if payload.is_some() { ACCEPT } else { REJECT };
        response[8..10].copy_from_slice(&answer.to_be_bytes());
        match payload {
            Some(payload) => response.extend(payload),
            None => response[12..].copy_from_slice(&NOTHING),
        }
        response
    }

    /// What the directory says; None is a rejection.
    fn directory(&mut self, index: usize, code: u16, request: &[u8]) -> Option<Vec<u8>> {
        let about = self.reachable(index, from_id_be([request[17], request[18], request[19]]));
        match code {
            code::PORT_NAMES | code::NODE_NAMES => {
                let mut ports: Vec<_> = (0..self.hbas.len())
                    .filter(|at| *at == index || self.sees(index, *at))
                    .map(|at| &self.hbas[at])
                    .filter(|hba| request[19] == FCP && hba.online() && hba.registered)
                    .collect();
                ports.sort_by_key(|hba| hba.id);
                let last = ports.len().checked_sub(1)?;
                let record = |(at, hba): (usize, &&crate::hba::Hba)| {
                    let name = if code == code::PORT_NAMES {
                        hba.port_name
                    } else {
                        hba.node_name
                    };
                    let mut record = vec![if at == last { 0x80 } else { 0 }];
                    record.extend(id_be(hba.id));
                    record.extend([0; 4]);
                    record.extend(name.to_be_bytes());
                    record
                };
                Some(ports.iter().enumerate().flat_map(record).collect())
            }
            code::NODE_NAME => about.map(|at| self.hbas[at].node_name.to_be_bytes().to_vec()),
            code::PORT_NAME | code::FABRIC_PORT_NAME => {
                about.map(|at| self.hbas[at].port_name.to_be_bytes().to_vec())
            }
            code::FEATURES => about.map(|at| {
                let mut features = vec![0; 128];
                features[7] = self.hbas[at].roles() >> 4; // of the FCP type: 1 target, 2 initiator
                features
            }),
            code::REGISTER_TYPES => {
                self.hbas[index].registered = true;
                Some(Vec::new())
            }
            code::REGISTER_FEATURES => {
                self.announce(index);
                Some(Vec::new())
            }
            code::REGISTER_PORT_NAME
            | code::REGISTER_NODE_NAME
            | code::REGISTER_PORT_SYMBOLIC
            | code::REGISTER_NODE_SYMBOLIC => Some(Vec::new()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::tests::fabric;

    fn request(code: u16, argument: [u8; 4]) -> Vec<u8> {
        let mut request = vec![0; 32];
        request[4] = DIRECTORY;
        request[8..10].copy_from_slice(&code.to_be_bytes());
        request[16..20].copy_from_slice(&argument);
        request
    }

    #[test]
    fn lists_the_ports_of_the_zone_and_marks_the_last() {
        let mut fabric = fabric(3);
        fabric.set_zone("z", Some([0, 1].into()));
        let answer = fabric.answer(0, &request(code::PORT_NAMES, [0, 0, 0, FCP]));
        assert_eq!(answer[8..10], ACCEPT.to_be_bytes());
        let records: Vec<&[u8]> = answer[PREAMBLE..].chunks(16).collect();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0][0], &records[0][1..4]), (0, &[0, 1, 0][..]));
        assert_eq!((records[1][0], records[1][15]), (0x80, 2));
    }

    #[test]
    fn nobody_and_the_unknown_are_rejections() {
        let mut fabric = fabric(2);
        fabric.hbas[0].registered = false;
        fabric.hbas[1].registered = false;
        for request in [
            request(code::PORT_NAMES, [0, 0, 0, FCP]),
            request(0x1ff, [0; 4]),
            request(code::PORT_NAME, [9; 4]),
        ] {
            let answer = fabric.answer(0, &request);
            assert_eq!(
                (&answer[8..10], &answer[12..]),
                (&REJECT.to_be_bytes()[..], &NOTHING[..])
            );
        }
    }

    #[test]
    fn features_tell_targets_from_initiators() {
        let mut fabric = fabric(2);
        let answer = fabric.answer(0, &request(code::FEATURES, [0, 0, 2, 0]));
        assert_eq!(answer[PREAMBLE + 7], 1);
    }
}
