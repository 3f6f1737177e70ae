//! SETTINGS (RFC 9113 section 6.5).

use super::head::Broken;
use super::{ErrorCode, Rule, Settings};

/// Setting identifiers (RFC 9113 section 6.5.2, RFC 9218 section 2.1).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    /// SETTINGS_MAX_CONCURRENT_STREAMS.
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441).
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
    /// SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218).
    pub const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// Reads the parameters in order. A rest shorter than one parameter is left out.
pub(super) fn parse(payload: &[u8]) -> Settings {
    payload
        .as_chunks::<6>()
        .0
        .iter()
        .map(|&[i0, i1, v0, v1, v2, v3]| {
            (
                u16::from_be_bytes([i0, i1]),
                u32::from_be_bytes([v0, v1, v2, v3]),
            )
        })
        .collect()
}

/// The rule that one parameter's value breaks, if any.
pub(super) fn broken_rule(identifier: u16, value: u32) -> Option<Broken> {
    match identifier {
        setting::ENABLE_PUSH if value > 1 => Some(Broken::connection(
            ErrorCode::PROTOCOL_ERROR,
            Rule::EnablePushValue,
        )),
        setting::ENABLE_CONNECT_PROTOCOL if value > 1 => Some(Broken::connection(
            ErrorCode::PROTOCOL_ERROR,
            Rule::EnableConnectProtocolValue,
        )),
        setting::INITIAL_WINDOW_SIZE if value > 0x7fff_ffff => Some(Broken::connection(
            ErrorCode::FLOW_CONTROL_ERROR,
            Rule::InitialWindowSizeValue,
        )),
        setting::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => Some(
            Broken::connection(ErrorCode::PROTOCOL_ERROR, Rule::MaxFrameSizeValue),
        ),
        setting::NO_RFC7540_PRIORITIES if value > 1 => Some(Broken::connection(
            ErrorCode::PROTOCOL_ERROR,
            Rule::NoPrioritiesValue,
        )),
        _ => None,
    }
}
