//! `h2trace demo`: the reference defect in one process, traced live.
