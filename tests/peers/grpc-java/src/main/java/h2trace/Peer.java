package h2trace;

/** The grpc-java peer of h2trace's live tests: {@code server|client ...}. See ../README.md. */
public final class Peer {
  private Peer() {}

  public static void main(String[] words) throws Exception {
    String role = words.length == 0 ? "" : words[0];
    switch (role) {
      case "server" -> Server.run(new Options(words));
      case "client" -> Client.run(new Options(words));
      default -> {
        System.err.println("usage: server|client ...");
        System.exit(2);
      }
    }
  }
}
