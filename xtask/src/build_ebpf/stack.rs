//! How much stack the kernel programs use along each chain of calls, read from the disassembly.
//!
//! The verifier adds up the frames of a chain and allows 512 bytes (`check_max_stack_depth`, `kernel/bpf/verifier.c`).
//! Newer x86-64 kernels give a program a stack of its own and would not notice more; others refuse to load it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// `MAX_BPF_STACK`.
const LIMIT: u32 = 512;
/// Each frame is rounded up to this, and is at least this, on kernels before 6.9 and without a just-in-time compiler.
const ROUNDED: u32 = 32;
/// `MAX_CALL_FRAMES`.
const FRAMES_MAX: usize = 8;
/// The section of functions that are not programs.
const TEXT: &str = ".text";
/// An instruction's size in bytes.
const INSTRUCTION: u64 = 8;

/// The bytes that a call of another function begins with; a helper's has 0 in place of 1.
const CALL: &str = "85 10";

/// A function: its section, and its offset there.
type Address = (String, u64);

/// What is read of one function.
#[derive(Debug, Default)]
struct Function {
    name: String,
    /// Deepest byte below the frame pointer that it names.
    frame: u32,
    /// The functions it calls, or hands to a helper as a callback.
    calls: Vec<Callee>,
}

#[derive(Debug)]
enum Callee {
    At(Address),
    Named(String),
}

/// The deepest chain of one program.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Bytes, with each frame rounded up.
    pub(super) bytes: u32,
    /// Its functions, the program first, with the bytes that each one uses.
    pub(super) frames: Vec<(String, u32)>,
}

/// Checks every program of the object; prints the deepest chain of each.
///
/// # Errors
/// A chain needs more stack than every supported kernel gives, or is too long.
pub(super) fn check(objdump: &Path, object: &Path) -> anyhow::Result<()> {
    for chain in chains_of(objdump, object)? {
        let (program, _) = chain.frames.first().cloned().unwrap_or_default();
        let shown: Vec<_> = chain
            .frames
            .iter()
            .map(|(name, frame)| format!("{name} {frame}"))
            .collect();
        let shown = shown.join(" -> ");
        println!(
            "{program}: {} of {LIMIT} bytes of stack ({shown})",
            chain.bytes
        );
        if chain.bytes > LIMIT {
            bail!(
                "{} bytes of stack along {shown}, each frame rounded up to {ROUNDED}; kernels without a private stack allow {LIMIT}: split the largest function (#[inline(never)]), or keep its state in the scratch space",
                chain.bytes
            );
        }
        if chain.frames.len() > FRAMES_MAX {
            bail!(
                "{} calls deep: {shown}; the kernel allows {FRAMES_MAX}",
                chain.frames.len()
            );
        }
    }
    Ok(())
}

/// The bytes of the deepest chain of each program of the object.
///
/// # Errors
/// The disassembly cannot be made or read.
pub(super) fn by_program(objdump: &Path, object: &Path) -> anyhow::Result<BTreeMap<String, u32>> {
    let chains = chains_of(objdump, object)?.into_iter();
    let named = chains.filter_map(|chain| {
        let (program, _) = chain.frames.into_iter().next()?;
        Some((program, chain.bytes))
    });
    Ok(named.collect())
}

fn chains_of(objdump: &Path, object: &Path) -> anyhow::Result<Vec<Chain>> {
    let text = crate::command::output(Command::new(objdump).args(["-d", "-r"]).arg(object))?;
    chains(&text)
}

/// The deepest chain of each program, by name.
fn chains(disassembly: &str) -> anyhow::Result<Vec<Chain>> {
    let functions = functions(disassembly)?;
    let by_name: HashMap<&str, &Address> = functions
        .iter()
        .map(|(address, function)| (function.name.as_str(), address))
        .collect();
    let mut chains: Vec<_> = functions
        .keys()
        .filter(|(section, _)| section != TEXT)
        .map(|address| deepest(&functions, &by_name, address, 0))
        .collect::<anyhow::Result<_>>()?;
    if chains.is_empty() {
        bail!("the disassembly shows no program");
    }
    chains.sort_by(|a, b| a.frames.cmp(&b.frames));
    Ok(chains)
}

fn deepest(
    functions: &BTreeMap<Address, Function>,
    by_name: &HashMap<&str, &Address>,
    address: &Address,
    depth: usize,
) -> anyhow::Result<Chain> {
    let function = functions
        .get(address)
        .with_context(|| format!("no function begins at {:#x} of {}", address.1, address.0))?;
    if depth > 2 * FRAMES_MAX {
        bail!("{} is called in a circle", function.name);
    }
    let mut deepest_callee = Chain {
        bytes: 0,
        frames: Vec::new(),
    };
    for callee in &function.calls {
        let callee = match callee {
            Callee::At(address) => address,
            Callee::Named(name) => by_name
                .get(name.as_str())
                .with_context(|| format!("{} calls {name}, which is not there", function.name))?,
        };
        let chain = deepest(functions, by_name, callee, depth + 1)?;
        if chain.bytes > deepest_callee.bytes {
            deepest_callee = chain;
        }
    }
    let mut frames = vec![(function.name.clone(), function.frame)];
    frames.append(&mut deepest_callee.frames);
    Ok(Chain {
        bytes: function.frame.max(1).next_multiple_of(ROUNDED) + deepest_callee.bytes,
        frames,
    })
}

/// Reads what `llvm-objdump -d -r` prints.
fn functions(disassembly: &str) -> anyhow::Result<BTreeMap<Address, Function>> {
    let mut functions: BTreeMap<Address, Function> = BTreeMap::new();
    let mut section = String::new();
    let mut address: Option<Address> = None;
    // The register that was made a copy of the frame pointer, and the last instruction.
    let (mut copied, mut last) = (String::new(), String::new());
    for line in disassembly.lines() {
        if let Some(name) = line.strip_prefix("Disassembly of section ") {
            name.trim_end_matches(':').clone_into(&mut section);
            continue;
        }
        if let Some((at, name)) = label(line) {
            let key = (section.clone(), at);
            functions.entry(key.clone()).or_default().name = short(name);
            address = Some(key);
            copied.clear();
            continue;
        }
        let Some(function) = address.as_ref().and_then(|key| functions.get_mut(key)) else {
            continue;
        };
        if let Some((kind, symbol)) = relocation(line) {
            if kind == "R_BPF_64_32" {
                // It names the callee better than the instruction does.
                function.calls.pop();
            }
            if kind == "R_BPF_64_32" || (kind == "R_BPF_64_64" && symbol == TEXT) {
                function.calls.push(callee(symbol, &last)?);
            }
            continue;
        }
        let Some((index, bytes, instruction)) = instruction(line) else {
            continue;
        };
        instruction.clone_into(&mut last);
        if bytes.starts_with(CALL) {
            function
                .calls
                .push(Callee::At((section.clone(), nearby(index, instruction)?)));
        }
        for (_, below) in last
            .match_indices("r10 - ")
            .map(|(at, found)| last.split_at(at + found.len()))
        {
            function.frame = function
                .frame
                .max(number(below).unwrap_or(0).unsigned_abs().try_into()?);
        }
        if let Some(register) = last.strip_suffix(" = r10") {
            register.clone_into(&mut copied);
        } else if let Some(below) = last
            .strip_prefix(copied.as_str())
            .filter(|_| !copied.is_empty())
            .and_then(|rest| rest.strip_prefix(" += -"))
        {
            function.frame = function
                .frame
                .max(number(below).unwrap_or(0).unsigned_abs().try_into()?);
            copied.clear();
        }
    }
    Ok(functions)
}

/// `0000000000000d60 <name>:`
fn label(line: &str) -> Option<(u64, &str)> {
    let (at, name) = line.strip_suffix(">:")?.split_once(" <")?;
    Some((u64::from_str_radix(at, 16).ok()?, name))
}

/// A line that names an offset, a kind of relocation and its symbol, with tabs around the kind.
fn relocation(line: &str) -> Option<(&str, &str)> {
    let (_, relocation) = line.split_once(":  R_BPF_")?;
    let begins = line.len() - relocation.len() - "R_BPF_".len();
    line.get(begins..)?.split_once('\t')
}

/// `     104:` tab `85 10 00 00 af 0d 00 00` tab `call 0xdaf`: the index, the bytes and the text.
fn instruction(line: &str) -> Option<(i64, &str, &str)> {
    let (index, rest) = line.split_once(":\t")?;
    let (bytes, text) = rest.split_once('\t')?;
    Some((index.trim().parse().ok()?, bytes, text.trim()))
}

/// Where a call without a relocation leads: it counts instructions from the one behind it.
fn nearby(index: i64, instruction: &str) -> anyhow::Result<u64> {
    instruction
        .strip_prefix("call ")
        .and_then(number)
        .and_then(|distance| u64::try_from(index + 1 + distance).ok())
        .map(|index| index * INSTRUCTION)
        .with_context(|| format!("cannot read whom {instruction:?} calls"))
}

/// Whom an instruction with this relocation calls: the symbol, or the place in `.text` that stands in the instruction
/// itself (`call 0x12` counts instructions from the one behind it, as if it stood at the section's beginning).
fn callee(symbol: &str, instruction: &str) -> anyhow::Result<Callee> {
    if symbol != TEXT {
        return Ok(Callee::Named(short(symbol)));
    }
    let operand = instruction
        .strip_prefix("call ")
        .map(|target| number(target).map(|n| (n + 1) * INSTRUCTION.cast_signed()))
        .or_else(|| {
            Some(
                instruction
                    .split_once(" = ")?
                    .1
                    .strip_suffix(" ll")
                    .and_then(number),
            )
        });
    let at = operand
        .flatten()
        .and_then(|at| u64::try_from(at).ok())
        .with_context(|| format!("cannot read whom {instruction:?} calls"))?;
    Ok(Callee::At((TEXT.to_owned(), at)))
}

/// The number that a text begins with, decimal or `0x`, perhaps negative.
fn number(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (radix, digits) = digits
        .strip_prefix("0x")
        .map_or((10, digits), |rest| (16, rest));
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    i64::from_str_radix(digits.get(..end)?, radix)
        .ok()
        .map(|n| sign * n)
}

/// A mangled name without its crate's hash, as far as it is legible: the last identifiers.
fn short(name: &str) -> String {
    match name.strip_prefix("_R") {
        Some(mangled) => super::without_hashes(mangled)
            .split("tracer_ebpf")
            .last()
            .unwrap_or(mangled)
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .to_owned(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "
Disassembly of section .text:

0000000000000000 <_RNvNtCsabc_11tracer_ebpf4call8finished>:
       0:\t7b 1a a8 ff 00 00 00 00\t*(u64 *)(r10 - 0x58) = r1
       1:\tbf a2 00 00 00 00 00 00\tr2 = r10
       2:\t07 02 00 00 a0 ff ff ff\tr2 += -0x60
       3:\t85 10 00 00 01 00 00 00\tcall 0x1
       4:\t85 00 00 00 04 00 00 00\tcall 0x4

0000000000000028 <walk>:
       5:\t18 02 00 00 48 00 00 00 00 00 00 00 00 00 00 00\tr2 = 0x48 ll
\t\t0000000000000028:  R_BPF_64_64\t.text
       7:\t85 00 00 00 b5 00 00 00\tcall 0xb5
       8:\t95 00 00 00 00 00 00 00\texit

0000000000000048 <step>:
       9:\t71 a1 ff ff 00 00 00 00\tr1 = *(u8 *)(r10 - 0x1)
      10:\t95 00 00 00 00 00 00 00\texit

Disassembly of section raw_tp:

0000000000000000 <sock_recv_length>:
       0:\t85 10 00 00 ff ff ff ff\tcall -0x1
\t\t0000000000000000:  R_BPF_64_32\t.text
       1:\t85 10 00 00 ff ff ff ff\tcall -0x1
\t\t0000000000000008:  R_BPF_64_32\twalk
";

    #[test]
    fn frames_are_added_up_along_calls_and_callbacks() {
        let chains = chains(OBJECT).unwrap();
        let [chain] = chains.as_slice() else {
            panic!("{chains:?}");
        };
        // The program 0, rounded up to 32; finished 0x60; walk, and step as its callback, each rounded up to 32.
        assert_eq!(chain.bytes, 32 + 96 + 32 + 32);
        assert_eq!(chain.frames.len(), 4);
        assert_eq!(chain.frames[0], ("sock_recv_length".to_owned(), 0));
        assert_eq!(chain.frames[1], ("call8finished".to_owned(), 96));
    }

    #[test]
    fn a_frame_that_grows_is_seen_however_it_is_addressed() {
        let spilled = OBJECT.replace("r10 - 0x1)", "r10 - 0x101)");
        assert_eq!(chains(&spilled).unwrap()[0].bytes, 32 + 96 + 32 + 288);
        let pointed_at = OBJECT.replace("+= -0x60", "+= -0x200");
        assert_eq!(chains(&pointed_at).unwrap()[0].bytes, 32 + 512 + 32 + 32);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_a_small_stack() {
        assert!(chains("").is_err());
        assert!(chains(&OBJECT.replace("call 0x1\n", "call 0x2\n")).is_err());
        assert!(chains(&OBJECT.replace("<walk>:", "<other>:")).is_err());
    }
}
