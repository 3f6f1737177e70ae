//! The attach points. Each is thin, and headed by the prototype that it relies on.

mod lifecycle;
mod process;
mod secret;
mod socket;
mod syscall;
