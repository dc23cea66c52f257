//! Devices of the original that need its libraries, or an HTTPS client: each names what to use instead.

use super::device::{common, Code, Device, DeviceType, Failure, Parameter};

const SERVER: Parameter = Parameter::required("host", "Host", "Address or host name of the card").unique();
const ENTITY: Parameter = Parameter::required("entity_root", "Entity", "Root of the chassis in OpenHPI");
const SOFT: Parameter = Parameter::optional("soft_reset", "Soft reset", "true or false");
const PATTERN: Parameter = Parameter::optional("managedsyspat", "Systems", "Patterns of managed systems");
const HMC_PASSWORD: Parameter = Parameter::optional("password", "Password", "Password of hscroot");

/// Row of the table.
pub const DRAC3: DeviceType = DeviceType {
    name: "drac3",
    parameters: &[SERVER, common::LOGIN, common::PASSWORD],
    id: "Dell DRAC III",
    description: "Dell DRAC III. Not built in; use external/drac5 or external/ipmi.",
    url: "",
    configure: |_| refuse("drac3", "external/drac5 or external/ipmi"),
};

/// Row of the table.
pub const BLADEHPI: DeviceType = DeviceType {
    name: "bladehpi",
    parameters: &[ENTITY, SOFT],
    id: "IBM BladeCenter by OpenHPI",
    description: "IBM BladeCenter by OpenHPI. Not built in; use external/ibmrsa-telnet or rhcs/bladecenter.",
    url: "",
    configure: |_| refuse("bladehpi", "external/ibmrsa-telnet or rhcs/bladecenter"),
};

/// Row of the table.
pub const IBMHMC: DeviceType = DeviceType {
    name: "ibmhmc",
    parameters: &[common::IPADDR, PATTERN, HMC_PASSWORD],
    id: "IBM Hardware Management Console",
    description: "IBM Hardware Management Console. Not built in; use external/hmchttp or rhcs/lpar.",
    url: "",
    configure: |_| refuse("ibmhmc", "external/hmchttp or rhcs/lpar"),
};

/// Row of the table; most distributions of the original lack it, so it is not listed.
pub const VACM: DeviceType = DeviceType {
    name: "vacm",
    parameters: &[
        Parameter::required("nexxus", "Nexxus", "Address of the VACM controller"),
        common::LOGIN,
        common::PASSWORD,
    ],
    id: "VA Cluster Manager",
    description: "VA Cluster Manager. Not built in; use external/ipmi.",
    url: "",
    configure: |_| refuse("vacm", "external/ipmi"),
};

fn refuse(name: &str, instead: &str) -> Result<Box<dyn Device>, Failure> {
    let text =
        format!("the device type {name} is not built in and nothing was done; use {instead} in its place");
    Err(Failure::report(Code::OTHER, text))
}
