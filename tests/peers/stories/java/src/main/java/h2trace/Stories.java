package h2trace;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http2.DefaultHttp2Headers;
import io.netty.handler.codec.http2.DefaultHttp2HeadersEncoder;
import io.netty.handler.codec.http2.Http2Headers;
import io.netty.handler.codec.http2.Http2HeadersEncoder;
import io.netty.util.AsciiString;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;

/** Encodes field lists with Netty's encoder, with the Huffman code and without. See ../../README.md. */
public final class Stories {
  private static final int TABLE_HINT = 64;

  private Stories() {}

  public static void main(String[] arguments) throws Exception {
    Path lists = Path.of(arguments[0]);
    Path stories = Path.of(arguments[1]);
    // The number is the length from which on strings are Huffman coded.
    all(lists, stories.resolve("netty-huffman"), 0);
    all(lists, stories.resolve("netty-plain"), Integer.MAX_VALUE);
  }

  private static void all(Path lists, Path folder, int huffmanFrom) throws Exception {
    Files.createDirectories(folder);
    try (var paths = Files.newDirectoryStream(lists, "*.txt")) {
      for (Path path : paths) {
        Files.writeString(folder.resolve(path.getFileName()), encode(path, huffmanFrom));
      }
    }
  }

  /** Reads a list and gives a line for each header block. */
  private static String encode(Path path, int huffmanFrom) throws Exception {
    Set<Pair> secrets = new HashSet<>();
    Http2HeadersEncoder.SensitivityDetector detector =
        (name, value) -> secrets.contains(new Pair(AsciiString.of(name), AsciiString.of(value)));
    var encoder = new DefaultHttp2HeadersEncoder(detector, true, TABLE_HINT, huffmanFrom);
    StringBuilder story = new StringBuilder();
    Http2Headers headers = new DefaultHttp2Headers(false);
    ByteBuf block = Unpooled.buffer();
    for (String line : Files.readAllLines(path)) {
      String[] words = line.split(" ");
      switch (words[0]) {
        // An update of the table stands at the beginning of the next block.
        case "table" -> encoder.maxHeaderTableSize(Long.parseLong(words[1]));
        case "field", "secret" -> {
          AsciiString name = octets(words[1]);
          AsciiString value = octets(words.length > 2 ? words[2] : "");
          headers.add(name, value);
          if (words[0].equals("secret")) {
            secrets.add(new Pair(name, value));
          }
        }
        case "end" -> {
          encoder.encodeHeaders(1, headers, block);
          story.append(ByteBufUtil.hexDump(block)).append('\n');
          block.clear();
          headers.clear();
          secrets.clear();
        }
        default -> throw new IOException("what is " + words[0] + "?");
      }
    }
    return story.toString();
  }

  private static AsciiString octets(String hex) {
    return new AsciiString(ByteBufUtil.decodeHexDump(hex));
  }

  private record Pair(AsciiString name, AsciiString value) {}
}
