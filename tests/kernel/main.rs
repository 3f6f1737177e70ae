//! The kernel programs on the running kernel, over real sockets of this process. Root only; without
//! privileges each test says so and is skipped.

mod capture;
mod io;
mod wire;

mod ends;
mod foreign;
mod hooks;
mod late;
mod losses;
mod other;
mod pods;
mod pods_later;
mod secrets;
mod tls;
mod ways;
