//! Encodes the field lists of h2trace's decoder tests with encoders in Rust and C. See ../../README.md.

mod client;
#[path = "../../../../decode/fields/mod.rs"]
mod fields;
mod forms;
mod nghttp2;

use std::error::Error;
use std::fs;
use std::path::Path;

use fields::{List, hex};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["lists", folder] => {
            fs::create_dir_all(folder)?;
            for list in fields::lists() {
                fs::write(
                    Path::new(folder).join(format!("{}.txt", list.name)),
                    fields::text(&list),
                )?;
            }
        }
        ["encode", stories] => {
            let stories = Path::new(stories);
            for list in fields::lists() {
                write(stories, "nghttp2", &list, &nghttp2::encode(&list)?)?;
                write(stories, "httlib-hpack", &list, &forms::encode(&list)?)?;
                if client::takes(&list) {
                    write(stories, "h2", &list, &client::encode(&list)?)?;
                }
            }
        }
        _ => return Err("usage: encoders lists FOLDER | encode FOLDER".into()),
    }
    Ok(())
}

/// Writes a story: a line for each header block.
fn write(stories: &Path, encoder: &str, list: &List, blocks: &[Vec<u8>]) -> Result<()> {
    let folder = stories.join(encoder);
    fs::create_dir_all(&folder)?;
    let lines: String = blocks.iter().map(|block| hex(block) + "\n").collect();
    fs::write(folder.join(format!("{}.txt", list.name)), lines)?;
    Ok(())
}
