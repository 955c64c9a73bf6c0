//! What a virtual IP and port mean.

use crate::error::Faults;
use crate::model::entry::VirtualAddress;
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write(from: &VirtualAddress) -> wire::VirtualAddress {
    wire::VirtualAddress {
        address: from.address.to_string(),
        destination: from.destination.to_string(),
    }
}

pub(super) fn read(from: &wire::VirtualAddress, faults: &mut Faults) -> Option<VirtualAddress> {
    let address = read::text("address", &from.address, faults);
    let destination = read::text("destination", &from.destination, faults);
    Some(VirtualAddress {
        address: address?,
        destination: destination?,
    })
}
