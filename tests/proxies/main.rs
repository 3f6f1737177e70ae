//! Real proxies: what h2trace joins there, and what it finds.
//!
//! Every request carries an id that these tests read on both hops and that the join cannot use: the proxy passes it
//! on under another name and with another value, or it is in a field that the join leaves out of account. So the
//! test knows which streams belong together, and the join has to find it out.

mod benign;
mod faulty;
mod gave_up;
mod late;
mod real;
mod run;
