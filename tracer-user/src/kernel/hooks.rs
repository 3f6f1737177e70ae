//! Where the kernel programs see socket calls: chosen by what the kernel has, never by its version.

use tracer_ebpf::config;

use super::{attach::PROBES, btf::Btf, doctor, load::StartError};

/// Names the hooks to use, whatever the kernel has, for tests: one of [`Hooks::name`].
const VARIABLE: &str = "H2TRACE_HOOKS";

/// The hooks on socket calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// The tracepoints sock_send_length and sock_recv_length.
    SocketTracepoints,
    /// The tracepoint sys_exit: the exit of every system call.
    SyscallExit,
}

impl Hooks {
    /// All, the better ones first.
    pub const ALL: [Hooks; 2] = [Hooks::SocketTracepoints, Hooks::SyscallExit];

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Hooks::SocketTracepoints => "socket tracepoints",
            Hooks::SyscallExit => "system call exit",
        }
    }

    /// As the environment variable `H2TRACE_HOOKS` names them.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Hooks::SocketTracepoints => "socket_tracepoints",
            Hooks::SyscallExit => "sys_exit",
        }
    }

    /// The name in doctor's JSON.
    pub(super) const fn rung(self) -> &'static str {
        match self {
            Hooks::SocketTracepoints => "A",
            Hooks::SyscallExit => "B",
        }
    }

    /// As the kernel programs know them.
    pub(super) const fn number(self) -> u32 {
        match self {
            Hooks::SocketTracepoints => config::hooks::SOCKET_TRACEPOINTS,
            Hooks::SyscallExit => config::hooks::SYSCALL_EXIT,
        }
    }

    /// The first of its tracepoints that the kernel does not have.
    fn missing(self, btf: &Btf) -> Option<&'static str> {
        PROBES
            .iter()
            .filter(|probe| probe.hooks == Some(self))
            .map(|probe| probe.tracepoint)
            .find(|tracepoint| !btf.has_tracepoint(tracepoint))
    }

    /// Those that were asked for, in the options or else in the environment, or else the best that the kernel has.
    pub(super) fn choose(wanted: Option<Hooks>, btf: &Btf) -> Result<Hooks, StartError> {
        let wanted = match wanted {
            Some(wanted) => Some(wanted),
            None => of_environment(std::env::var_os(VARIABLE))?,
        };
        let missing = |hooks: Hooks| hooks.missing(btf);
        let found = match wanted {
            Some(wanted) => missing(wanted).map_or(Ok(wanted), Err),
            None => Hooks::ALL
                .into_iter()
                .find(|&hooks| missing(hooks).is_none())
                .ok_or_else(|| missing(Hooks::SocketTracepoints).unwrap_or_default()),
        };
        found.map_err(|tracepoint| StartError::NoTracepoint {
            release: doctor::release(),
            tracepoint,
        })
    }
}

/// The value of [`VARIABLE`].
fn of_environment(value: Option<std::ffi::OsString>) -> Result<Option<Hooks>, StartError> {
    let Some(value) = value else { return Ok(None) };
    let named = Hooks::ALL.into_iter().find(|hooks| value == hooks.name());
    named
        .map(Some)
        .ok_or_else(|| StartError::UnknownHooks(value.to_string_lossy().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::tests::with_tracepoints;

    const SOCKET: [&str; 2] = ["sock_send_length", "sock_recv_length"];

    #[test]
    fn the_tracepoints_decide_and_the_better_hooks_are_taken() {
        let chosen = |tracepoints: &[&str], wanted| {
            let chosen = Hooks::choose(wanted, &with_tracepoints(tracepoints));
            chosen.map_err(|error| match error {
                StartError::NoTracepoint { tracepoint, .. } => tracepoint,
                other => panic!("{other}"),
            })
        };
        let all = [SOCKET[0], SOCKET[1], "sys_exit"];
        assert_eq!(chosen(&all, None), Ok(Hooks::SocketTracepoints));
        assert_eq!(chosen(&SOCKET, None), Ok(Hooks::SocketTracepoints));
        assert_eq!(chosen(&all[1..], None), Ok(Hooks::SyscallExit));
        assert_eq!(chosen(&["sys_exit"], None), Ok(Hooks::SyscallExit));
        assert_eq!(chosen(&[SOCKET[1]], None), Err(SOCKET[0]));
        let forced = Some(Hooks::SyscallExit);
        assert_eq!(chosen(&all, forced), Ok(Hooks::SyscallExit));
        assert_eq!(chosen(&SOCKET, forced), Err("sys_exit"));
        let newer = Some(Hooks::SocketTracepoints);
        assert_eq!(chosen(&["sys_exit"], newer), Err("sock_recv_length"));
    }

    #[test]
    fn the_environment_names_hooks_that_there_are() {
        let of = |value: &str| of_environment(Some(value.into()));
        assert_eq!(of_environment(None).unwrap(), None);
        assert_eq!(of("sys_exit").unwrap(), Some(Hooks::SyscallExit));
        assert_eq!(
            of("socket_tracepoints").unwrap(),
            Some(Hooks::SocketTracepoints)
        );
        let refused = of("kprobes").unwrap_err().to_string();
        assert_eq!(
            refused,
            "H2TRACE_HOOKS names no hooks: \"kprobes\" (socket_tracepoints, sys_exit)"
        );
    }
}
