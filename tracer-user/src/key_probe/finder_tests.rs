//! The function is found by who calls it, in programs of a few instructions.

use std::io::Write as _;

use super::*;

/// Where the program stands in memory, and where in it its texts and its code are.
const BASE: u64 = 0x40_0000;
const TEXTS: usize = 0x200;
const CODE: usize = 0x1000;

/// Functions that are called.
const LOG: u64 = BASE + 0x1800;
const OTHER: u64 = BASE + 0x1900;

const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

/// A program that is one segment.
struct Program {
    machine: u16,
    is_fixed: bool,
    bytes: Vec<u8>,
    at: usize,
}

impl Program {
    fn new(machine: u16, is_fixed: bool) -> Program {
        let mut bytes = vec![0; 0x2000];
        let mut at = TEXTS;
        for label in LABELS {
            bytes[at..at + label.len()].copy_from_slice(label.as_bytes());
            at += 0x40;
        }
        Program {
            machine,
            is_fixed,
            bytes,
            at: CODE,
        }
    }

    fn code(&mut self, code: &[u8]) {
        self.bytes[self.at..self.at + code.len()].copy_from_slice(code);
        self.at += code.len();
    }

    fn here(&self) -> u64 {
        BASE + self.at as u64
    }

    /// A call of `function` with a label.
    fn call(&mut self, label: usize, function: u64) {
        let text = BASE + (TEXTS + 0x40 * label) as u64;
        let far = |from: u64, to: u64| i32::try_from(to as i64 - from as i64).unwrap();
        if self.machine == EM_AARCH64 {
            // adrp x1, page; add x1, x1, #rest; mov x0, x19; bl function
            let pages = (far(self.here() & !0xfff, text & !0xfff) >> 12) as u32;
            let adrp = 0x9000_0001 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5;
            let add = 0x9100_0021 | ((text & 0xfff) as u32) << 10;
            let call = self.here() + 12;
            let bl = 0x9400_0000 | (far(call, function) as u32 >> 2) & 0x3ff_ffff;
            for word in [adrp, add, 0xaa13_03e0, bl] {
                self.code(&word.to_le_bytes());
            }
            return;
        }
        if self.is_fixed {
            // mov esi, text
            let mut code = vec![0xbe];
            code.extend(u32::try_from(text).unwrap().to_le_bytes());
            self.code(&code);
        } else {
            // lea rsi, [rip + far]
            let mut code = vec![0x48, 0x8d, 0x35];
            code.extend(far(self.here() + 7, text).to_le_bytes());
            self.code(&code);
        }
        // mov rdi, rbx; call function
        self.code(&[0x48, 0x89, 0xdf]);
        let mut code = vec![0xe8];
        code.extend(far(self.here() + 5, function).to_le_bytes());
        self.code(&code);
        // What comes next is far enough away.
        self.at += 2 * NEAR;
    }

    fn file(&self) -> File {
        let mut bytes = self.bytes.clone();
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
        header.resize(16, 0);
        let kind: u16 = if self.is_fixed { 2 } else { 3 };
        header.extend(kind.to_le_bytes());
        header.extend(self.machine.to_le_bytes());
        header.extend(1_u32.to_le_bytes());
        // Entry, segments, sections.
        for word in [BASE, 64, 0_u64] {
            header.extend(word.to_le_bytes());
        }
        header.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 1, 64, 0, 0] {
            header.extend(half.to_le_bytes());
        }
        // PT_LOAD, read and executed.
        for word in [1_u32, 5] {
            header.extend(word.to_le_bytes());
        }
        let len = bytes.len() as u64;
        for word in [0, BASE, BASE, len, len, 0x1000] {
            header.extend(word.to_le_bytes());
        }
        bytes[..header.len()].copy_from_slice(&header);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn found(&self) -> Option<u64> {
        find_site(&self.file()).map(|site| BASE + site.offset)
    }
}

const MACHINES: [(u16, bool); 4] = [
    (EM_X86_64, false),
    (EM_X86_64, true),
    (EM_AARCH64, false),
    (EM_AARCH64, true),
];

#[test]
fn function_that_most_labels_go_to_is_found() {
    for (machine, is_fixed) in MACHINES {
        let mut program = Program::new(machine, is_fixed);
        for (label, function) in [(0, LOG), (2, OTHER), (3, LOG), (6, LOG), (4, OTHER)] {
            program.call(label, function);
        }
        assert_eq!(program.found(), Some(LOG), "{machine} {is_fixed}");
        let site = find_site(&program.file()).unwrap();
        let label = if machine == EM_X86_64 { 13 } else { 1 };
        assert_eq!(site.layout.label, label);
        assert_eq!(site.layout.label_len, NO_REGISTER);
    }
}

#[test]
fn where_it_is_in_doubt_none_is_found() {
    for (machine, is_fixed) in MACHINES {
        let program = Program::new(machine, is_fixed);
        assert_eq!(program.found(), None, "nothing is called");
        for calls in [
            // One label is not enough, however often.
            &[(0, LOG), (0, LOG), (0, LOG)][..],
            &[(0, LOG), (1, LOG), (2, OTHER), (3, OTHER)],
            // Not in the program.
            &[(0, BASE + 0x10_0000), (1, BASE + 0x10_0000)],
        ] {
            let mut program = Program::new(machine, is_fixed);
            for (label, function) in calls {
                program.call(*label, *function);
            }
            assert_eq!(program.found(), None, "{machine} {is_fixed} {calls:x?}");
        }
    }
}

#[test]
fn files_that_are_cut_or_no_programs_have_none() {
    let mut program = Program::new(EM_X86_64, false);
    program.call(0, LOG);
    program.call(1, LOG);
    let file = program.file();
    assert!(find_site(&file).is_some());
    for len in (0..0x400).step_by(7).chain([0x1000, 0x1080]) {
        file.set_len(len).unwrap();
        assert_eq!(find_site(&file), None, "{len}");
        // What was cut off is zeros now.
        file.set_len(0x2000).unwrap();
        assert_eq!(find_site(&file), None, "{len}");
    }
    let mut text = tempfile::tempfile().unwrap();
    text.write_all(b"#!/bin/sh\nCLIENT_RANDOM\n").unwrap();
    assert_eq!(find_site(&text), None);
}
