//! The whole pipeline over generated conversations: whatever is not seen of one that is healthy, nobody is
//! accused; whatever is not seen of one that is broken, nothing is found that is not there.

mod broken;
mod driver;
mod healthy;
mod let_go;
mod sweep;
