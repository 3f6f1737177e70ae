"""Encodes field lists with PyPI's hpack, with the Huffman code and without. See ../../README.md."""

import pathlib
import sys

import hpack


def encode(path, huffman):
    """Reads a list and gives a line for each header block."""
    encoder = hpack.Encoder()
    fields, story = [], []
    for line in path.read_text().splitlines():
        sort, *words = line.split(" ")
        if sort == "table":
            encoder.header_table_size = int(words[0])
        elif sort == "end":
            story.append(encoder.encode(fields, huffman=huffman).hex())
            fields = []
        else:
            name, value = [bytes.fromhex(word) for word in [*words, ""][:2]]
            kind = {"field": hpack.HeaderTuple, "secret": hpack.NeverIndexedHeaderTuple}[sort]
            fields.append(kind(name, value))
    return "".join(line + "\n" for line in story)


def main():
    lists, stories = map(pathlib.Path, sys.argv[1:])
    for setting, huffman in [("python-huffman", True), ("python-plain", False)]:
        folder = stories / setting
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(lists.glob("*.txt")):
            (folder / path.name).write_text(encode(path, huffman))


main()
