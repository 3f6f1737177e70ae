package h2trace;

import io.netty.channel.unix.DomainSocketAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** {@code --name value} pairs, and the switches. */
final class Options {
  private final Map<String, String> values = new HashMap<>();
  final List<String[]> headers = new ArrayList<>();

  Options(String[] words) {
    for (int i = 1; i < words.length; i++) {
      String name = words[i].substring(2);
      if (name.equals("wait-go") || name.equals("busy") || name.equals("linger")) {
        values.put(name, "");
      } else if (name.equals("header")) {
        headers.add(words[++i].split(":", 2));
      } else {
        values.put(name, words[++i]);
      }
    }
  }

  boolean has(String name) {
    return values.containsKey(name);
  }

  String text(String name, String otherwise) {
    return values.getOrDefault(name, otherwise);
  }

  int number(String name, int otherwise) {
    return has(name) ? Integer.parseInt(values.get(name)) : otherwise;
  }

  /** {@code host:port} or {@code unix:path}. */
  static SocketAddress address(String text) {
    if (text.startsWith("unix:")) {
      return new DomainSocketAddress(text.substring("unix:".length()));
    }
    int colon = text.lastIndexOf(':');
    String host = text.substring(0, colon).replaceAll("^\\[|\\]$", "");
    return new InetSocketAddress(host, Integer.parseInt(text.substring(colon + 1)));
  }
}
